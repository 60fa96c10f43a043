"""How a model is probed: all that decides the numbers beside the clips themselves."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.flow import CONTEXT

Mode = Literal["predict", "command"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSettings:
    """``context`` frames are given, the rest has to come from the model.

    ``modes`` of the loss: ``predict`` goes on from those frames without a command, ``command`` is told everything.
    Noise levels are drawn within the bins between ``sigma_edges``. ``num_steps`` of sampling make a clip; without
    ``dynamics`` no clip is made and losses alone are measured, at a third of the cost.
    """

    seed: int = 0
    context: int = 4
    modes: tuple[Mode, ...] = ("predict",)
    sigma_edges: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    num_steps: int = 1
    dynamics: bool = True
    batch_size: int = 8

    def __post_init__(self) -> None:
        if not CONTEXT[0] <= self.context <= CONTEXT[1]:
            raise UserError(f"context must be from {CONTEXT[0]} to {CONTEXT[1]} frames, got {self.context}")
        rising = all(a < b for a, b in pairwise(self.sigma_edges))
        if len(self.sigma_edges) < 2 or not rising or self.sigma_edges[0] < 0 or self.sigma_edges[-1] > 1:
            raise UserError(f"sigma_edges must rise from 0 or more to 1 or less, got {list(self.sigma_edges)}")
        if min(self.num_steps, self.batch_size) < 1:
            raise UserError(f"num_steps and batch_size must be at least 1, got {self.num_steps} and {self.batch_size}")

    @property
    def bins(self) -> tuple[tuple[float, float], ...]:
        return tuple(pairwise(self.sigma_edges))
