"""Preconditioning: skip connections, so that the transformer predicts only the deviation from a Gaussian model.

Let c be the warped first frame, r = data - c the residual, with a known standard deviation S per channel, and
x = (1 - sigma) data + sigma noise. Then x' = x - (1 - sigma) c = (1 - sigma) r + sigma noise, and for Gaussian r the
velocity noise - data has the mean k x' - c and the variance S^2 / T, where T = (1 - sigma)^2 S^2 + sigma^2 and
k = (sigma - (1 - sigma) S^2) / T. The network predicts only the deviation from that mean, in units of that standard
deviation, from an input of unit variance: the preconditioning of Karras et al. 2022 (arXiv 2206.00364), for flows and
around a known frame. A network with zero output yields the warped frame, which already moves as commanded.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from driveforge.finetune.world_model.clip_tensors import ConditionMask
from driveforge.finetune.world_model.conditions import Conditions


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Preconditioning:
    """Velocity = ``mean`` + ``scale`` * network output, from a unit-variance ``network_input``; all (B,Z,F,h,w)."""

    network_input: Tensor
    mean: Tensor
    scale: Tensor


def precondition(noisy: Tensor, sigma: Tensor, conditions: Conditions, std: Tensor) -> Preconditioning:
    """``std`` (2, Z) holds S per channel: row 0 where nothing was warped (c = 0), row 1 where a frame was."""
    level = sigma.view(-1, 1, 1, 1, 1)
    warped_share = conditions.mask.warped
    unwarped_variance, warped_variance = std.square().view(2, 1, -1, 1, 1, 1)
    # A cell that is warped in part has the mean of both variances.
    variance = (1 - warped_share) * unwarped_variance + warped_share * warped_variance  # S^2
    residual = noisy - (1 - level) * conditions.warped  # x'
    total = (1 - level).square() * variance + level.square()  # T
    skip = (level - (1 - level) * variance) / total  # k
    return Preconditioning(
        network_input=residual / total.sqrt(), mean=skip * residual - conditions.warped, scale=(variance / total).sqrt()
    )


def estimate_latent_std(latents: Tensor, warped: Tensor, mask: ConditionMask) -> Tensor:
    """The ``std`` (2, Z) of N clips: ``latents`` and ``warped`` (N,Z,F,h,w), channels of ``mask`` (N,1,F,h,w)."""
    is_warped = (mask.warped[:, 0] > 0.9) & (mask.context[:, 0] == 0)
    unwarped = latents.square().mean((0, 2, 3, 4))
    residual = (latents - warped).square().movedim(1, -1)[is_warped].mean(0)
    return torch.stack([unwarped, residual]).sqrt().clamp_min(0.02)
