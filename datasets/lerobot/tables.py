"""The parquet tables of a LeRobot data set."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.lerobot.motion import ACTION_NAMES, STATE_NAMES

STATE, ACTION = "observation.state", "action"
# Columns that every LeRobot data set has, one number per frame.
INDEX_TYPES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
_VECTOR_NAMES = {STATE: STATE_NAMES, ACTION: ACTION_NAMES}

FRAME_SCHEMA = pa.schema(
    [(name, pa.list_(pa.float32(), len(names))) for name, names in _VECTOR_NAMES.items()]
    + [(name, getattr(pa, kind)()) for name, kind in INDEX_TYPES.items()]
)


def vector_features() -> dict[str, dict[str, Any]]:
    """The entries of state, action and index columns in ``info.json``."""
    vectors = {
        name: {"dtype": "float32", "shape": [len(names)], "names": list(names)} for name, names in _VECTOR_NAMES.items()
    }
    return vectors | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in INDEX_TYPES.items()}


def frame_table(columns: Mapping[str, Array | NDArray[np.int64]]) -> pa.Table:
    """The rows of one episode, from arrays ``(T,)`` or ``(T, D)`` by column."""
    arrays = []
    for field in FRAME_SCHEMA:
        values = np.asarray(columns[field.name])
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(values.astype(np.float32).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=FRAME_SCHEMA)


def parquet_bytes(tables: Sequence[pa.Table]) -> bytes:
    """A parquet file with one row group per table."""
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, tables[0].schema, compression="snappy") as writer:
        for table in tables:
            writer.write_table(table)
    return bytes(buffer.getvalue().to_pybytes())


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """``task_index`` by task. LeRobot reads it with pandas and takes the tasks from the index of the frame."""
    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    column = {
        "name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
        "metadata": None,
    }  # fmt: skip
    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    description = {
        "index_columns": ["task"], "column_indexes": [names], "columns": [column, index], "pandas_version": "2.2.0",
    }  # fmt: skip
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(description)})


def episodes_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows])
