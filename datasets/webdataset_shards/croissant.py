"""Croissant 1.1 metadata of an export: its shards with checksums, and the file types inside them."""

from collections.abc import Mapping, Sequence
from typing import Any

from driveforge.datasets.webdataset_shards.data_card import DataCard

_MIME_TYPES = {
    "json": "application/json",
    "mp4": "video/mp4",
    "npy": "application/octet-stream",
    "npz": "application/octet-stream",
    "jpg": "image/jpeg",
}

# The context of the specification (docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html).
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(card: DataCard, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """JSON-LD for ``croissant.json``: a FileObject per shard and a FileSet per member type, without record sets."""
    contained = [{"@id": shard["name"]} for shard in shards]
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": card.name,
        "description": f"{card.summary} See README.md for sample members, units and frames.",
        "version": "1.0.0",
    }
    if card.license:
        described["license"] = card.license
    return described | {
        "distribution": [
            *(
                {
                    "@type": "cr:FileObject",
                    "@id": shard["name"],
                    "name": shard["name"],
                    "contentUrl": shard["name"],
                    "contentSize": f"{shard['num_bytes']} B",
                    "encodingFormat": "application/x-tar",
                    "sha256": shard["sha256"],
                }
                for shard in shards
            ),
            *(
                {
                    "@type": "cr:FileSet",
                    "@id": f"{extension}-members",
                    "name": f"{extension}-members",
                    "containedIn": contained,
                    "encodingFormat": mime_type,
                    "includes": f"*.{extension}",
                }
                for extension, mime_type in _MIME_TYPES.items()
            ),
        ]
    }
