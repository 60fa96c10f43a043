"""Settings of the study of scale; the values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleStudy:
    """What a cluster is like, and how many sleeping actors check the simulation."""

    gpus: Annotated[tuple[int, ...], "numbers of GPUs, with a worker each"]
    days: Annotated[float, "simulated time", Range(0)]
    clip_seconds: Annotated[float, "mean time of a clip on a GPU, s", Range(0)]
    clips_per_unit: Annotated[int, "clips of a unit", Range(1)]
    spread: Annotated[float, "standard deviation of a unit's time over its mean", Range(0)]
    start_seconds: Annotated[float, "time to start a worker and load its model, s", Range(0)]
    gpu_mtbf_hours: Annotated[float, "mean time between failures of a GPU or its node, h", Range(0)]
    unit_failure_rate: Annotated[float, "share of attempts that raise an error", Range(0, 1)]
    store_seconds: Annotated[float, "time to commit a unit to the store, s", Range(0)]
    store_puts_per_second: Annotated[float, "writes that the store takes", Range(0)]
    actors: Annotated[int, "real Ray actors that check the simulation", Range(1)]
    real_seconds: Annotated[float, "mean time of a unit of the real actors, s", Range(0)]
    real_units: Annotated[int, "units of each real actor", Range(1)]
    seed: Annotated[int, "of all times and failures", Range(0)]
    run_dir: Annotated[Path, "folder for the records of real runs"]
