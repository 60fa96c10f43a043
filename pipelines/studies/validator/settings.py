"""How much the validator is studied; the values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidatorStudy:
    """How much the validator is studied on: simulated clips, and real footage where there is some."""

    rows: Annotated[tuple[int, ...], "heights of the clips: 256, 128, 64"]
    num_good: Annotated[int, "good clips to calibrate on", Range(1)]
    num_audit: Annotated[int, "good clips that are audited", Range(1)]
    num_corrupted: Annotated[int, "clips that are corrupted in every way", Range(3)]
    num_front_cameras: Annotated[int, "good clips of three cameras to calibrate on, of 128 rows", Range(4)]
    real: Annotated[tuple[Path, ...], "footage with poses to hold the limits against: nuScenes roots, clip folders"]
    seed: Annotated[int, "of all clips", Range(0)]
    run_dir: Annotated[Path, "what the study makes goes here"]
