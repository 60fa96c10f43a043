"""Settings of the driving data: one record a kind of source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from driveforge.datasets.framing import Framing
from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedData(Framing):
    """Clips of the procedural world, rendered as they are read."""

    name: Literal["simulated"]
    num_scenes: Annotated[int, "clips over all domains", Range(1)]
    domains: Annotated[tuple[str, ...], "for example driving-day, driving-dusk, driving-rain"]
    seed: Annotated[int, "same seed, same world", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class NuScenesData(Framing):
    """A nuScenes data set, or anything in its tables."""

    name: Literal["nuscenes"]
    root: Annotated[Path, "the folder that holds samples, sweeps and the version's tables"]
    version: Annotated[str, "the folder of the tables, for example v1.0-mini"]
    split: Annotated[str, "all, train, val, mini_train, mini_val, test"]
    cameras: Annotated[tuple[str, ...], "channels, for example [CAM_FRONT]"]
    sweeps: Annotated[bool, "read the frames between key frames; boxes are interpolated"]
    pad_short_scenes: Annotated[bool, "hold the last frame of recordings shorter than a clip"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoData(Framing):
    """A folder of videos, each with an optional scene.json."""

    name: Literal["video"]
    root: Annotated[Path, "searched for *.mp4, *.m4v and *.mov"]
    domain: Annotated[str | None, "of every clip; null: from scene.json, or the folder's name"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardData(Framing):
    """Shards that an export wrote."""

    name: Literal["shards"]
    root: Annotated[Path, "the folder that holds index.json"]


Data = SimulatedData | NuScenesData | VideoData | ShardData
