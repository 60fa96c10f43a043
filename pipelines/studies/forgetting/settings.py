"""Settings of the forgetting study; their values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from driveforge.datasets.framing import FRAMES, SIDE
from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgettingStudy:
    """Size of the forgetting study: small models, every strategy with several seeds."""

    base: Annotated[
        Literal["trained", "shipped"],
        "trained: a small base for every seed, and driving by day; shipped: the base checkpoint for all seeds, and "
        "infrared driving, which is new to it",
    ]
    height: Annotated[int, "rows", SIDE]
    width: Annotated[int, "columns", SIDE]
    num_frames: Annotated[int, "frames in a clip, 1 + 4k", FRAMES]
    base_clips: Annotated[int, "clips of each other domain, for trained bases and for replay", Range(1)]
    driving_clips: Annotated[int, "driving clips of a fine-tune", Range(1)]
    test_clips: Annotated[int, "test clips of every domain", Range(2)]
    validation_clips: Annotated[int, "clips of every domain for adaptive shares and interpolation", Range(1)]
    base_steps: Annotated[int, "optimizer steps of a trained base", Range(1)]
    steps: Annotated[int, "optimizer steps of a fine-tune", Range(1)]
    batch_size: Annotated[int, "clips in a step", Range(1)]
    base_learning_rate: Annotated[float, "peak learning rate of a trained base", Range(0)]
    learning_rate: Annotated[float, "peak learning rate of a fine-tune", Range(0)]
    ema_decay: Annotated[float, "of the averaged weights of a fine-tune", Range(0, 1)]
    precision: Annotated[Literal["32", "bf16"], "32, or bf16 on machines that support it"]
    num_seeds: Annotated[int, "runs of the main strategies, and number of trained bases", Range(1)]
    num_secondary_seeds: Annotated[int, "runs of the other strategies", Range(0)]
    driving_footage: Annotated[tuple[Path, ...], "videos to fine-tune on, instead of simulated driving"]
    other_footage: Annotated[tuple[Path, ...], "videos of other domains to evaluate on; the folder is the domain"]
    seed: Annotated[int, "seed of all clips", Range(0)]
    run_dir: Annotated[Path, "folder of the results"]
