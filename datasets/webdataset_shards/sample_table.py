"""``samples.parquet``: one row for each sample of an export, to select clips without opening the shards."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet

TABLE_FILE = "samples.parquet"
_SHARD = "shard"
# Type of each column, and its path in the ``json`` member.
_COLUMNS: dict[str, tuple[pa.DataType, tuple[str | int, ...]]] = {
    "clip_id": (pa.string(), ("clip_id",)),
    "domain": (pa.string(), ("domain",)),
    "caption": (pa.string(), ("caption",)),
    "split": (pa.string(), ("split",)),
    "derived_from_split": (pa.string(), ("derived_from_split",)),
    "source": (pa.string(), ("source",)),
    "recording_token": (pa.string(), ("recording_token",)),
    "weather": (pa.string(), ("weather",)),
    "time_of_day": (pa.string(), ("time_of_day",)),
    "frame_rate": (pa.float64(), ("frame_rate",)),
    "num_frames": (pa.int64(), ("num_frames",)),
    "held_frames": (pa.int64(), ("held_frames",)),
    "num_objects": (pa.int64(), ("num_objects",)),
    "timestamps": (pa.list_(pa.float64()), ("timestamps",)),
    "image_times_us": (pa.list_(pa.int64()), ("cameras", 0, "image_times_us")),
    "image_tokens": (pa.list_(pa.string()), ("cameras", 0, "image_tokens")),
    "license": (pa.string(), ("license",)),
    "dataset": (pa.string(), ("dataset",)),
    "digital_source_type": (pa.string(), ("digital_source_type",)),
    "edit": (pa.string(), ("metadata", "edit")),
    "model": (pa.string(), ("metadata", "model")),
    "verdict": (pa.string(), ("metadata", "verdict", "state")),
    "gate_verdict": (pa.string(), ("metadata", "verdict", "gate_state")),
    "has_score": (pa.bool_(), ("metadata", "verdict", "has_score")),
    "score": (pa.float64(), ("metadata", "verdict", "score")),
    "limit": (pa.float64(), ("metadata", "verdict", "limit")),
    "from_evaluation_split": (pa.bool_(), ("metadata", "from_evaluation_split")),
    "near_duplicate_share": (pa.float64(), ("metadata", "near_duplicates", "share")),
}
SCHEMA = pa.schema([(_SHARD, pa.string()), *((name, kind) for name, (kind, _) in _COLUMNS.items())])


def sample_table(samples: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """The table of (shard, content of the ``json`` member), as parquet; what a member lacks is null."""
    rows = [
        {_SHARD: shard, **{name: _find(record, path) for name, (_, path) in _COLUMNS.items()}}
        for shard, record in samples
    ]
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer)
    return buffer.getvalue()


def _find(record: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        if isinstance(record, Mapping) and key not in record:
            return None
        record = record[key]
    return record
