import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.exported import check_disclosure, exported_members, sample_schema
from driveforge.datasets.webdataset_shards.format import SCHEMA_VERSION, clip_members
from driveforge.datasets.webdataset_shards.sample_table import SCHEMA as TABLE_SCHEMA
from tests.datasets.small_clips import bare_clip, older_members, recorded_clip, small_clip
from tests.defaults import export_settings

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "data-formats.md"


def keys_of(schema: dict[str, Any]) -> Iterator[str]:
    """The names of all properties in a JSON schema, also of records in lists."""
    for name, entry in schema.get("properties", {}).items():
        yield name
        yield from keys_of(entry)
        yield from keys_of(entry.get("items", {}))


def test_the_schema_is_of_this_version_and_every_key_is_documented() -> None:
    schema = json.loads(sample_schema())
    assert schema["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    assert schema["$id"] == f"urn:driveforge:sample:{SCHEMA_VERSION}"
    text = DOCUMENTATION.read_text()
    keys = set(keys_of(schema))
    assert len(keys) > 40
    assert not [key for key in keys if f"`{key}`" not in text and f"`metadata.{key}`" not in text and key != "metadata"]


def test_every_column_of_the_table_is_in_the_samples() -> None:
    keys = set(keys_of(json.loads(sample_schema())))
    renamed = {"shard", "verdict", "gate_verdict", "near_duplicate_share"}
    assert set(TABLE_SCHEMA.names) - renamed <= keys


@pytest.mark.parametrize("clip", [small_clip(), recorded_clip(), bare_clip()], ids=["small", "recorded", "bare"])
def test_a_sample_has_the_same_keys_and_kinds_whatever_is_known(clip: Any) -> None:
    settings = export_settings(license="CC-BY-4.0")
    exported = exported_members(clip_members(clip, {}), {}, settings, "t.tar: key")
    record = json.loads(exported["json"])
    reference = json.loads(exported_members(clip_members(small_clip(), {}), {}, settings, "t.tar: key")["json"])
    assert list(record) == list(reference)
    assert [type(value) for value in record.values()] == [type(value) for value in reference.values()]
    assert [list(camera) for camera in record["cameras"]] == [list(reference["cameras"][0])]
    assert record["license"] == "CC-BY-4.0" and not check_disclosure(exported)


def test_what_is_exported_is_exported_again_unchanged() -> None:
    settings = export_settings()
    once = exported_members(older_members(small_clip(), 2), {"edit": "none"}, settings, "t.tar: key")
    assert exported_members(once, {}, settings, "t.tar: key") == once


def test_a_damaged_candidate_is_named() -> None:
    members = older_members(small_clip(), 1)
    for broken in (members | {"json": b"{"}, members | {"tracks.npz": b"PK"}):
        with pytest.raises(UserError, match=r"t\.tar: key"):
            exported_members(broken, {}, export_settings(), "t.tar: key")
