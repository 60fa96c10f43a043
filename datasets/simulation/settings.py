"""Settings of ``driveforge simulate``."""

from dataclasses import dataclass
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateSettings:
    """Simulated data sets, written as nuScenes tables and video folders."""

    num_scenes: Annotated[int, "number of driving recordings", Range(1)]
    seconds: Annotated[float, "length of a recording in s", Range(1)]
    height: Annotated[int, "pixels", Range(16, step=2)]
    width: Annotated[int, "pixels", Range(16, step=2)]
    frame_rate: Annotated[float, "Hz of the sweeps; key frames are at 2 Hz", Range(0.1)]
    cameras: Annotated[tuple[str, ...], "camera channels"]
    replay_clips: Annotated[int, "number of replay clips", Range(0)]
    replay_domains: Annotated[tuple[str, ...], "domains of the replay clips, in equal parts"]
    seed: Annotated[int, "random seed; the same seed gives the same data", Range(0)]
