"""How far two velocities are apart, sample by sample, by the same rule as the flow loss."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from driveforge.datasets.latents.shards import LatentSample
from driveforge.finetune.strategies.strategy import Prediction
from driveforge.finetune.world_model.conditions import Conditions, stack_conditions
from driveforge.finetune.world_model.model import WorldModel


def select_samples(prediction: Prediction, rows: Tensor) -> Prediction:
    """The samples ``rows`` (R,) of a batch."""
    conditions = prediction.conditions
    values: dict[str, Any] = {field.name: getattr(conditions, field.name) for field in fields(conditions)}
    chosen: dict[str, Any] = {
        name: value[rows] if isinstance(value, Tensor) else value for name, value in values.items()
    }
    return Prediction(
        noisy=prediction.noisy[rows],
        sigma=prediction.sigma[rows],
        conditions=Conditions(**chosen),
        velocity=prediction.velocity[rows],
    )


def velocity_mse(prediction: Prediction, target: Tensor, cell_weight: Tensor) -> Tensor:
    """Mean squared difference (B,) from the velocities ``target`` (B,Z,F,h,w), weighted like ``flow_matching_loss``."""
    error = (prediction.velocity.float() - target.float()).square().mean(1)
    weight = cell_weight * (1 - prediction.conditions.context_mask[:, 0])
    return (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1.0)


def make_single_sample_batch(model: WorldModel, sample: LatentSample) -> tuple[Tensor, Tensor, Conditions]:
    """``latents`` (1,Z,F,h,w), ``cell_weight`` (1,F,h,w) and conditions of one stored sample, where the model is.

    One at a time: what is computed of a sample must not depend on which others were computed with it.
    """
    tensors: Mapping[str, Any] = {name: value[None].to(model.device) for name, value in sample.tensors.items()}
    conditions = stack_conditions(tensors, [sample.domain], [sample.caption], model.config.domains)
    return tensors["latents"].float(), tensors["cell_weight"], conditions
