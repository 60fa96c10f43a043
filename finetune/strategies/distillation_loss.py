"""The mean squared difference of two velocities per sample, weighted as in the flow loss."""

from torch import Tensor

from driveforge.datasets.latents.shards import LatentSample
from driveforge.finetune.strategies.strategy import Prediction
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.flow import average_over_generated_cells
from driveforge.finetune.world_model.model import WorldModel


def velocity_mse(prediction: Prediction, target: Tensor) -> Tensor:
    """Mean squared difference (B,) from the velocities ``target`` (B,Z,F,h,w), weighted as in the flow loss."""
    error = (prediction.velocity.float() - target.float()).square().mean(1)
    return average_over_generated_cells(error, prediction.cell_weight, prediction.conditions)


def make_single_sample_batch(model: WorldModel, sample: LatentSample) -> tuple[Tensor, Tensor, Conditions]:
    """``latents`` (1,Z,F,h,w), ``cell_weight`` (1,F,h,w) and conditions of one stored sample, on the model's device.

    With a batch size of one, a sample's result does not depend on other samples, to the bit.
    """
    clip = ClipTensors.from_mapping(sample.tensors).map(lambda tensor: tensor[None].to(model.device))
    conditions = model.batch_conditions(clip, [sample.domain], [sample.caption])
    return clip.latents.float(), clip.cell_weight, conditions
