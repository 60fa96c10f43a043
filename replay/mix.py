"""Settings of replay in the batches of a fine-tune."""

from dataclasses import dataclass
from typing import Annotated, Literal

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayMix:
    """The share of replayed samples in every batch, for strategies that replay."""

    share: Annotated[float, "share of replay samples in every batch, 0 to 1", Range(0, 1)]
    schedule: Annotated[
        Literal["fixed", "linear", "adaptive"],
        "the share is constant, changes linearly to final_share, or follows the measured forgetting",
    ]
    final_share: Annotated[float, "share at the last step, with schedule=linear", Range(0, 1)]
    tolerance: Annotated[float, "allowed forgetting of a domain, with schedule=adaptive", Range(0)]
    eval_every: Annotated[int, "optimizer steps between evaluations, with schedule=adaptive", Range(1)]
    loss_weight: Annotated[float, "weight of a replay sample's loss", Range(0)]
    seed: Annotated[int, "seed of the buffer's sampling and the batch plan", Range(0)]
