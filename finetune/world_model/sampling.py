"""Sampling: noise to latent video under classifier-free guidance, with UniPC on a stated list of noise levels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.flow import Velocity, shifted

if TYPE_CHECKING:  # diffusers takes seconds to import, and settings alone do without
    from driveforge.finetune.world_model.conditions import Conditions


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSettings:
    """``sigmas`` (falling, in (0, 1]) replaces the shifted levels that ``num_steps`` makes, from ``strength`` down.

    Below a strength of 1 sampling begins at that noise level, from what was carried of the first frames, as SDEdit does
    (Meng et al. 2022, arXiv 2108.01073); it is 1, and begins from pure noise, where there are no first frames.
    What the carried frames cannot show begins further up, at ``inpaint_strength``, and takes ``inpaint_steps`` down to
    ``strength`` first, while the rest stays the carried frames under noise of the same level (Differential Diffusion,
    Levin and Fried 2023, arXiv 2306.00950).
    Guidance moves the velocity away from the one without commands: 1 is none (Ho and Salimans 2022, arXiv 2207.12598).
    """

    num_steps: int = 4
    strength: float = 0.5
    inpaint_steps: int = 4
    inpaint_strength: float = 0.95
    guidance_scale: float = 2.0
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise UserError(f"num_steps must be at least 1, got {self.num_steps}")
        if self.inpaint_steps < 0:
            raise UserError(f"inpaint_steps must not be negative, got {self.inpaint_steps}")
        for name, level in (("strength", self.strength), ("inpaint_strength", self.inpaint_strength)):
            if not 0 < level <= 1:
                raise UserError(f"{name} must lie above 0 and up to 1, got {level}")
        if self.guidance_scale < 0:
            raise UserError(f"guidance_scale must not be negative, got {self.guidance_scale}")
        falling = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False))
        if self.sigmas and not (falling and self.sigmas[-1] > 0 and self.sigmas[0] <= 1):
            raise UserError(f"sigmas must fall from at most 1 to above 0, got {list(self.sigmas)}")

    def levels(self, *, has_frames: bool) -> list[float]:
        """The noise levels that are visited, highest first; 0 follows the last."""
        even = torch.linspace(1, 0, self.num_steps + 1, dtype=torch.float64)[:-1]
        highest = self.strength if has_frames else 1.0
        return list(self.sigmas) or [highest * float(s) for s in shifted(even)]

    def inpaint_levels(self, highest: float) -> list[float]:
        """The noise levels above ``highest``, where sampling of the rest begins, from ``inpaint_strength`` down."""
        if self.inpaint_strength <= highest:
            return []
        return [float(x) for x in np.linspace(self.inpaint_strength, highest, self.inpaint_steps + 1)[:-1]]


@torch.no_grad()
def sample(model: Velocity, conditions: "Conditions", seed: int | Sequence[int], settings: SamplerSettings) -> Tensor:
    """Latents (B,Z,F,h,w); given frames come back untouched. The same seed gives the same latents.

    With a seed for each clip, none depends on what else is in the batch.
    """
    carried, shape = conditions.carried, conditions.carried.shape
    noise = _noise(shape, seed).to(carried.device)
    given = (conditions.given > 0).expand(shape)
    shown = (conditions.mask[:, 1:2] >= 0.5).expand(shape)
    levels = settings.levels(has_frames=bool(given.any()))
    above = settings.inpaint_levels(levels[0])
    velocity = _guided(model, conditions, settings.guidance_scale)

    def carried_at(level: float) -> Tensor:
        return (1 - level) * carried + level * noise

    x = carried_at(above[0] if above else levels[0])
    for level, next_level in pairwise([*above, levels[0]]):
        x = torch.where(given, carried, x)
        x = x + (next_level - level) * velocity(x, level)  # Euler's method: the levels lie close together
        x = torch.where(shown, carried_at(next_level), x)
    from diffusers import UniPCMultistepScheduler

    # UniPC (Zhao et al. 2023, arXiv 2302.04867) reached in 10 steps what Euler's method needed 20 for.
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
    scheduler.set_timesteps(sigmas=np.array(levels), device=carried.device)
    for level, timestep in zip(levels, scheduler.timesteps, strict=True):
        x = torch.where(given, carried, x)
        x = scheduler.step(velocity(x, level), timestep, x, return_dict=False)[0]
    return torch.where(given, carried, x)


def _guided(model: Velocity, conditions: "Conditions", scale: float) -> Callable[[Tensor, float], Tensor]:
    """The velocity of ``(x, level)`` under classifier-free guidance; a scale of 1 saves the second forward pass."""
    unguided = conditions.unguided()

    def velocity(x: Tensor, level: float) -> Tensor:
        sigma = torch.full((len(x),), level, device=x.device)
        guided = model(x, sigma, conditions)
        if scale != 1:
            plain = model(x, sigma, unguided)
            guided = plain + scale * (guided - plain)
        return guided.float()

    return velocity


def _noise(shape: Sequence[int], seed: int | Sequence[int]) -> Tensor:
    if isinstance(seed, int):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.cat([_noise((1, *shape[1:]), one) for one in seed])
