"""Settings of the validator study; the values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidatorStudy:
    """The numbers of simulated clips, and real footage if there is any."""

    rows: Annotated[tuple[int, ...], "heights of the clips: 256, 128, 96, 64"]
    num_good: Annotated[int, "good clips to calibrate on", Range(1)]
    num_audit: Annotated[int, "good clips to audit the false rejects", Range(1)]
    num_corrupted: Annotated[int, "clips to apply every corruption to", Range(3)]
    num_front_cameras: Annotated[int, "good clips of three cameras, 128 rows, to calibrate on", Range(4)]
    num_draws: Annotated[int, "random calibration sets of each size", Range(1)]
    real: Annotated[tuple[Path, ...], "footage to test the limits on: nuScenes roots, clip folders, videos"]
    seed: Annotated[int, "of all clips", Range(0)]
    run_dir: Annotated[Path, "folder for the trials of the study"]
