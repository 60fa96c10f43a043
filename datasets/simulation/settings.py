"""Settings of the simulated world that is written to disk."""

from dataclasses import dataclass
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateSettings:
    """The procedural world, written out as nuScenes tables and video folders."""

    num_scenes: Annotated[int, "driving recordings", Range(1)]
    seconds: Annotated[float, "length of a recording", Range(1)]
    height: Annotated[int, "rows", Range(16, step=2)]
    width: Annotated[int, "columns", Range(16, step=2)]
    frame_rate: Annotated[float, "Hz of the sweeps; key frames are at 2 Hz", Range(0.1)]
    cameras: Annotated[tuple[str, ...], "channels"]
    replay_clips: Annotated[int, "clips of the other domains", Range(0)]
    replay_domains: Annotated[tuple[str, ...], "non-driving domains, in equal parts"]
    seed: Annotated[int, "same seed, same world", Range(0)]
