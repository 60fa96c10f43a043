"""Samples as they are exported: a stored candidate, completed with license, data set, verdict and disclosure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from driveforge.datasets.disclosure import DIGITAL_SOURCE_TYPE, is_marked, mark_videos
from driveforge.datasets.webdataset_shards.format import (
    SCHEMA_VERSION,
    dump_json,
    load_json,
    scene_from_members,
    scene_members,
)
from driveforge.datasets.webdataset_shards.settings import ExportSettings

# The JSON schema of the ``json`` member; every export has a copy.
SCHEMA_FILE = "sample.schema.json"
# Their keys differ between clips and their lists may be empty, so loaders could not infer a type.
_JSON_TEXTS = ("settings", "measures", "frame_hashes")


def sample_schema() -> bytes:
    """The published JSON schema, draft 2020-12."""
    return Path(__file__).with_name(SCHEMA_FILE).read_bytes()


def exported_members(
    members: Mapping[str, bytes], added: Mapping[str, Any], settings: ExportSettings, where: str
) -> dict[str, bytes]:
    """The members of the exported sample of a stored candidate; ``added`` to its metadata.

    Videos and arrays are copied, and videos marked as generated. A candidate of an older version gets what it lacks and
    its scene can tell. Raises UserError naming ``where`` and a member that is damaged.
    """
    record = load_json(members["json"], f"{where}: json")
    if record.get("schema_version") != SCHEMA_VERSION:
        scene, metadata = scene_from_members(members, where)
        members = {**members, **scene_members(scene, metadata)}
        record = load_json(members["json"], f"{where}: json")
    # Candidates of older versions have no hashes, and were the only attempts.
    metadata = {"frame_hashes": {}, "attempt": 1, "attempt_of": ""} | record.pop("metadata", {}) | dict(added)
    record |= {
        "license": settings.license or "",
        "dataset": settings.name,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
        "metadata": {key: _to_text(value) if key in _JSON_TEXTS else value for key, value in metadata.items()},
    }
    return mark_videos(members) | {"json": dump_json(record)}


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def check_disclosure(members: Mapping[str, bytes]) -> list[str]:
    """What is wrong with the marks of generated media in the members of an exported sample."""
    videos = [name for name in sorted(members) if name.endswith(".mp4") and not is_marked(members[name])]
    problems = [f"{name} is not marked as generated (XMP Iptc4xmpExt:DigitalSourceType)" for name in videos]
    if load_json(members["json"], "json").get("digital_source_type") != DIGITAL_SOURCE_TYPE:
        problems.append(f"json: digital_source_type must be {DIGITAL_SOURCE_TYPE}")
    return [f"{problem}; export again" for problem in problems]
