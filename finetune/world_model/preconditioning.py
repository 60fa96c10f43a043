"""What the network has to say beyond what a Gaussian would: skip connections around the transformer.

Let c be the warped first frame, r = data - c what it leaves open, with a standard deviation S known by channel, and
x = (1 - sigma) data + sigma noise. Then x' = x - (1 - sigma) c = (1 - sigma) r + sigma noise, and for Gaussian r the
velocity noise - data has the mean k x' - c and the variance S^2 / T, where T = (1 - sigma)^2 S^2 + sigma^2 and
k = (sigma - (1 - sigma) S^2) / T. The network predicts only the deviation from that mean, in units of that standard
deviation, from an input of unit variance: the preconditioning of Karras et al. 2022 (arXiv 2206.00364), for flows and
around a known frame. A network that says nothing yields the warped frame, which already moves as commanded.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from driveforge.finetune.world_model.conditions import Conditions


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Preconditioning:
    """All (B,Z,F,h,w): the network's unit-variance ``network_input``, and velocity = ``mean`` + ``scale`` * its output."""

    network_input: Tensor
    mean: Tensor
    scale: Tensor


def precondition(noisy: Tensor, sigma: Tensor, conditions: Conditions, std: Tensor) -> Preconditioning:
    """``std`` is (2, Z): S of the latents where nothing was warped, and of what a warped frame leaves open."""
    level = sigma.view(-1, 1, 1, 1, 1)
    warped_share = conditions.mask[:, 1:2]
    variance_by_kind = std.square().view(2, 1, -1, 1, 1, 1)
    variance = (1 - warped_share) * variance_by_kind[0] + warped_share * variance_by_kind[1]
    residual = noisy - (1 - level) * conditions.warped
    total = (1 - level).square() * variance + level.square()
    skip = (level - (1 - level) * variance) / total
    return Preconditioning(
        network_input=residual / total.sqrt(), mean=skip * residual - conditions.warped, scale=(variance / total).sqrt()
    )


def estimate_latent_std(latents: Tensor, warped: Tensor, mask: Tensor) -> Tensor:
    """The ``std`` (2, Z) of clips ``latents`` and ``warped`` (N,Z,F,h,w), ``mask`` (N,4,F,h,w)."""
    is_warped = (mask[:, 1] > 0.9) & (mask[:, 0] == 0)
    unwarped = latents.square().mean((0, 2, 3, 4))
    residual = (latents - warped).square().movedim(1, -1)[is_warped].mean(0)
    return torch.stack([unwarped, residual]).sqrt().clamp_min(0.02)
