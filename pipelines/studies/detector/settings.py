"""Settings of the detector's training; the values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorStudy:
    """Numbers of images and steps: half an hour on two cores."""

    worlds: Annotated[int, "simulated drives to take images from, each at both sizes", Range(2)]
    steps: Annotated[int, "optimizer steps", Range(2)]
    batch_rows: Annotated[int, "rows of all images of a step together", Range(256)]
    learning_rate: Annotated[float, "peak learning rate", Range(0)]
    seed: Annotated[int, "of all images and weights; the validator study must have another", Range(0)]
    run_dir: Annotated[Path, "folder for the images"]
