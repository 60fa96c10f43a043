"""How much forgetting is studied; the values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from driveforge.datasets.framing import FRAMES, SIDE
from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgettingStudy:
    """What fine-tuning forgets, and what helps: small models, each way of fine-tuning with several seeds."""

    height: Annotated[int, "rows", SIDE]
    width: Annotated[int, "columns", SIDE]
    num_frames: Annotated[int, "frames in a clip, 1 + 4k", FRAMES]
    base_clips: Annotated[int, "clips of each other domain that a base learns from, and replay draws from", Range(1)]
    driving_clips: Annotated[int, "clips that are fine-tuned on", Range(1)]
    test_clips: Annotated[int, "clips of every domain that results are measured on", Range(2)]
    validation_clips: Annotated[int, "clips of every domain that adaptive shares and interpolation go by", Range(1)]
    base_steps: Annotated[int, "optimizer steps of a base", Range(1)]
    steps: Annotated[int, "optimizer steps of a fine-tune", Range(1)]
    batch_size: Annotated[int, "clips in a step", Range(1)]
    base_learning_rate: Annotated[float, "peak", Range(0)]
    learning_rate: Annotated[float, "peak", Range(0)]
    ema_decay: Annotated[float, "of a fine-tune's averaged weights", Range(0, 1)]
    precision: Annotated[Literal["32", "bf16"], "bf16 where the machine has it"]
    num_seeds: Annotated[int, "bases, and runs of the ways that matter most", Range(1)]
    num_secondary_seeds: Annotated[int, "runs of the other ways", Range(0)]
    driving_footage: Annotated[tuple[Path, ...], "videos to fine-tune on, in place of simulated driving"]
    other_footage: Annotated[tuple[Path, ...], "videos to judge on beside it, in folders that name their domains"]
    seed: Annotated[int, "of all clips", Range(0)]
    run_dir: Annotated[Path, "what the study makes goes here"]
