"""The difference of the trained weights from their initial values."""

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from driveforge.finetune.world_model.model import WorldModel

Weights = dict[str, Tensor]
# The name that diffusers gives to an adapter without one.
_ADAPTER = "default"


def copy_trainable_weights(model: WorldModel) -> Weights:
    """Copies of the trainable weights. With a LoRA these are the adapter and the weights that are not frozen."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def get_effective_weights(model: WorldModel) -> dict[str, nn.Parameter]:
    """The weights that training changes: the trainable ones, with the adapted weights in place of LoRA's factors."""
    plain = {name: p for name, p in model.named_parameters() if p.requires_grad and ".lora_" not in name}
    return plain | {name: layer.get_base_layer().weight for name, layer in _adapted(model).items()}


def compute_weight_delta(model: WorldModel, initial_weights: Weights) -> Weights:
    """The difference of every effective weight from its initial value, differentiable.

    ``initial_weights`` is the result of ``copy_trainable_weights``. For a LoRA the difference is the product B A; the
    factors are not unique, since B A = (B c)(A / c), and A is random at the start.
    """
    named = dict(model.named_parameters())
    # In full precision, because the differences are small.
    with torch.autocast(model.device.type, enabled=False):
        plain = {n: named[n] - value.to(named[n].device) for n, value in initial_weights.items() if ".lora_" not in n}
        return plain | {name: layer.get_delta_weight(_ADAPTER) for name, layer in _adapted(model).items()}


def _adapted(model: WorldModel) -> dict[str, LoraLayer]:
    return {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
