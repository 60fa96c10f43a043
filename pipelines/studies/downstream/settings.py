"""Settings of the downstream study; the values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class DownstreamStudy:
    """Numbers of clips, and the training of the networks."""

    checkpoints: Annotated[tuple[str, ...], "generators: base, or model folders; sweeps use the first"]
    num_real: Annotated[int, "real clips to train on, which the generated clips are edits of", Range(2)]
    num_test: Annotated[int, "real clips to evaluate on", Range(2)]
    num_generated: Annotated[int, "clips of each generator", Range(2)]
    num_good: Annotated[int, "further real clips to calibrate the gate on", Range(12)]
    false_reject_rate: Annotated[float, "share of good clips that the gate may reject", Range(0, 1)]
    steps: Annotated[int, "optimizer steps, the same in all arms", Range(2)]
    batch_size: Annotated[int, "images per step, the same in all arms", Range(2)]
    learning_rate: Annotated[float, "peak of the schedule", Range(0)]
    share: Annotated[float, "of added clips in every batch", Range(0, 1)]
    sweep: Annotated[tuple[float, ...], "further shares, for accepted and for all clips"]
    num_seeds: Annotated[int, "runs of each arm; each draws its clips and weights anew", Range(2)]
    seed: Annotated[int, "of all clips and runs", Range(0)]
    run_dir: Annotated[Path, "folder of the clips and the finished runs"]

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise UserError("checkpoints: name at least one generator, such as base")
        if wrong := [share for share in self.sweep if not 0 < share < 1]:
            raise UserError(f"sweep: a share must be between 0 and 1, got {wrong[0]:g}")
