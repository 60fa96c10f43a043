"""Where the weights started, and how far they have moved since."""

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from driveforge.finetune.world_model.model import WorldModel

Weights = dict[str, Tensor]
# What diffusers calls an adapter that was given no name.
_ADAPTER = "default"


def copy_trainable_weights(model: WorldModel) -> Weights:
    """Copies of all that is trained. With a LoRA that is the adapter and whatever else is not frozen."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def get_effective_weights(model: WorldModel) -> dict[str, nn.Parameter]:
    """The weights that training can move: the trained ones, and instead of LoRA's factors those that they adapt."""
    plain = {name: p for name, p in model.named_parameters() if p.requires_grad and ".lora_" not in name}
    return plain | {name: layer.get_base_layer().weight for name, layer in _adapted(model).items()}


def compute_weight_delta(model: WorldModel, initial_weights: Weights) -> Weights:
    """How far every movable weight is from where it started, differentiable; ``initial_weights`` is of ``copy_trainable_weights``.

    For a LoRA it is the product B A that counts: the factors say nothing by themselves, since B A = (B c)(A / c), and A
    starts at random.
    """
    named = dict(model.named_parameters())
    # In full precision: the differences that count are small.
    with torch.autocast(model.device.type, enabled=False):
        plain = {n: named[n] - value.to(named[n].device) for n, value in initial_weights.items() if ".lora_" not in n}
        return plain | {name: layer.get_delta_weight(_ADAPTER) for name, layer in _adapted(model).items()}


def _adapted(model: WorldModel) -> dict[str, LoraLayer]:
    return {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
