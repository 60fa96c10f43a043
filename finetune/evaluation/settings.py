"""Settings of an evaluation, without the clips."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range
from driveforge.finetune.world_model.continuation import CONTEXT_FRAMES

Mode = Literal["continuation", "commanded"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings:
    """The model continues clips from ``context_frames`` frames.

    Losses are measured in the given ``modes``: ``continuation`` without layout and pose, ``commanded`` with all
    conditions. A noise level is drawn from each bin between ``sigma_edges``. Clips are sampled in ``num_steps`` steps
    if ``dynamics`` is true.
    """

    seed: Annotated[int, "of the procedural clips and of all noise; must differ from every training seed", Range(0)]
    context_frames: Annotated[int, "number of given frames; the model generates the rest", Range(*CONTEXT_FRAMES)]
    modes: Annotated[tuple[Mode, ...], "of the loss: without layout and pose, and with all conditions"]
    sigma_edges: Annotated[tuple[float, ...], "edges of the noise levels that losses are reported for"]
    num_steps: Annotated[int, "sampling steps", Range(1)]
    dynamics: Annotated[bool, "generate clips and measure their motion too; false: losses only, at half the cost"]
    batch_size: Annotated[int, "clips per batch", Range(1)]

    def __post_init__(self) -> None:
        if not CONTEXT_FRAMES[0] <= self.context_frames <= CONTEXT_FRAMES[1]:
            raise UserError(
                f"context_frames must be {CONTEXT_FRAMES[0]} to {CONTEXT_FRAMES[1]}, got {self.context_frames}"
            )
        rising = all(a < b for a, b in pairwise(self.sigma_edges))
        if len(self.sigma_edges) < 2 or not rising or self.sigma_edges[0] < 0 or self.sigma_edges[-1] > 1:
            raise UserError(f"sigma_edges must increase from 0 or more to 1 or less, got {list(self.sigma_edges)}")
        if min(self.num_steps, self.batch_size) < 1:
            raise UserError(f"num_steps and batch_size must be at least 1, got {self.num_steps} and {self.batch_size}")

    @property
    def bins(self) -> tuple[tuple[float, float], ...]:
        return tuple(pairwise(self.sigma_edges))
