"""Settings of exports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """Format and packing of accepted clips."""

    format: Annotated[Literal["webdataset", "nuscenes", "clipgt", "lerobot"], "format of the export"]
    allow_evaluation_split: Annotated[
        bool, "whether to export clips of scenes of val, mini_val and test, marked as such"
    ]
    clips_per_shard: Annotated[int, "maximum samples per tar", Range(1)]
    min_shards: Annotated[
        int, "minimum shards of a split with as many clips; a loader uses no more workers than shards", Range(1)
    ]
    name: Annotated[str, "name of the data set, in its card and Croissant metadata"]
    license: Annotated[str | None, "license of the data set: an SPDX identifier or a URL; null: not stated"]
    merge: Annotated[
        Path | None, "nuScenes root whose scenes an export in format nuscenes has too; null: only the accepted clips"
    ]

    def __post_init__(self) -> None:
        for name in ("clips_per_shard", "min_shards"):
            if (value := getattr(self, name)) < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if self.merge is not None and self.format != "nuscenes":
            raise UserError(
                f"export.merge is for export.format=nuscenes, not for {self.format}; set one of them: "
                "export.format=nuscenes, or export.merge=null"
            )
