"""How a model is probed: all that decides the numbers beside the clips themselves."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range
from driveforge.finetune.world_model.continuation import CONTEXT_FRAMES

Mode = Literal["continuation", "commanded"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings:
    """``context_frames`` frames are given, the rest has to come from the model.

    ``modes`` of the loss: ``continuation`` goes on from those frames without a command, ``commanded`` is told everything.
    Noise levels are drawn within the bins between ``sigma_edges``. ``num_steps`` of sampling make a clip; without
    ``dynamics`` no clip is made and losses alone are measured, at a third of the cost.
    """

    seed: Annotated[int, "of the procedural clips and of all noise; must differ from every training seed", Range(0)]
    context_frames: Annotated[int, "given frames; the model generates the rest", Range(*CONTEXT_FRAMES)]
    modes: Annotated[tuple[Mode, ...], "of the loss: without a command, and with all conditions"]
    sigma_edges: Annotated[tuple[float, ...], "edges of the noise levels that losses are reported for"]
    num_steps: Annotated[int, "sampling steps", Range(1)]
    dynamics: Annotated[bool, "generate clips and measure their motion too; false: losses alone, at half the cost"]
    batch_size: Annotated[int, "clips at a time", Range(1)]

    def __post_init__(self) -> None:
        if not CONTEXT_FRAMES[0] <= self.context_frames <= CONTEXT_FRAMES[1]:
            raise UserError(
                f"context_frames must be from {CONTEXT_FRAMES[0]} to {CONTEXT_FRAMES[1]} frames, got {self.context_frames}"
            )
        rising = all(a < b for a, b in pairwise(self.sigma_edges))
        if len(self.sigma_edges) < 2 or not rising or self.sigma_edges[0] < 0 or self.sigma_edges[-1] > 1:
            raise UserError(f"sigma_edges must rise from 0 or more to 1 or less, got {list(self.sigma_edges)}")
        if min(self.num_steps, self.batch_size) < 1:
            raise UserError(f"num_steps and batch_size must be at least 1, got {self.num_steps} and {self.batch_size}")

    @property
    def bins(self) -> tuple[tuple[float, float], ...]:
        return tuple(pairwise(self.sigma_edges))
