"""Croissant 1.1 metadata of an export: its shards with checksums, the members inside them, and their records.

The record set ``samples`` has the rows of ``samples.parquet``, one for each clip. The record sets ``<camera>.mp4`` and
``thumb.jpg`` have the content of these members; ``clip_id`` joins them to the samples.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from driveforge.datasets.webdataset_shards.croissant_context import CONTEXT
from driveforge.datasets.webdataset_shards.data_card import DataCard
from driveforge.datasets.webdataset_shards.sample_table import SCHEMA, TABLE_FILE

_MIME_TYPES = {
    "json": "application/json",
    "mp4": "video/mp4",
    "npy": "application/octet-stream",
    "npz": "application/octet-stream",
    "jpg": "image/jpeg",
}
_DATA_TYPES = {
    pa.string(): "sc:Text",
    pa.int64(): "sc:Integer",
    pa.float64(): "sc:Float",
    pa.bool_(): "sc:Boolean",
}
_SAMPLES = "samples"
# mlcroissant applies it again to its own result, which has no suffix.
_CLIP_ID_IN_NAME = r"^([^.]+)(?:\..*)?$"


def croissant(card: DataCard, shards: Sequence[Mapping[str, Any]], table: bytes) -> dict[str, Any]:
    """JSON-LD for ``croissant.json``; ``table`` is the content of ``samples.parquet``."""
    table_entry = {"name": TABLE_FILE, "num_bytes": len(table), "sha256": hashlib.sha256(table).hexdigest()}
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": card.name,
        "description": f"{card.summary} See README.md for sample members, units and frames.",
        "version": "1.0.0",
    }
    if card.license:
        described["license"] = card.license
    members = sorted({member for sample in card.samples for member in sample.members})
    contents = [member for member in members if member.endswith((".mp4", ".jpg"))]
    return described | {
        "distribution": [
            _file_object(table_entry, "application/x-parquet"),
            *(_file_object(shard, "application/x-tar") for shard in shards),
            *(_file_set(member, shards) for member in members),
        ],
        "recordSet": [_samples_record_set(), *map(_content_record_set, contents)],
    }


def _file_object(file: Mapping[str, Any], mime_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file["name"],
        "name": file["name"],
        "contentUrl": file["name"],
        "contentSize": f"{file['num_bytes']} B",
        "encodingFormat": mime_type,
        "sha256": file["sha256"],
    }


def _file_set(member: str, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{member}-files",
        "name": f"{member}-files",
        "containedIn": [{"@id": shard["name"]} for shard in shards],
        "encodingFormat": _MIME_TYPES[member.rpartition(".")[2]],
        "includes": f"*.{member}",
    }


def _samples_record_set() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": _SAMPLES,
        "name": _SAMPLES,
        "description": "One record for each clip.",
        "key": {"@id": f"{_SAMPLES}/clip_id"},
        "field": [_sample_field(column) for column in SCHEMA],
    }


def _sample_field(column: pa.Field) -> dict[str, Any]:
    is_list = pa.types.is_list(column.type)
    kind = column.type.value_type if is_list else column.type
    return {
        "@type": "cr:Field",
        "@id": f"{_SAMPLES}/{column.name}",
        "name": column.name,
        "dataType": _DATA_TYPES[kind],
        **({"isArray": True, "arrayShape": "-1"} if is_list else {}),
        "source": {"fileObject": {"@id": TABLE_FILE}, "extract": {"column": column.name}},
    }


def _content_record_set(member: str) -> dict[str, Any]:
    """The record set of a video or image, joined to the samples by the clip id in the file name."""
    files = {"fileSet": {"@id": f"{member}-files"}}
    return {
        "@type": "cr:RecordSet",
        "@id": member,
        "name": member,
        "description": f"The content of {member} of each clip.",
        "key": {"@id": f"{member}/clip_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{member}/clip_id",
                "name": "clip_id",
                "dataType": "sc:Text",
                "references": {"field": {"@id": f"{_SAMPLES}/clip_id"}},
                "source": files | {"extract": {"fileProperty": "filename"}, "transform": {"regex": _CLIP_ID_IN_NAME}},
            },
            {
                "@type": "cr:Field",
                "@id": f"{member}/content",
                "name": "content",
                "dataType": "sc:VideoObject" if member.endswith(".mp4") else "sc:ImageObject",
                "source": files | {"extract": {"fileProperty": "content"}},
            },
        ],
    }
