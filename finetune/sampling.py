"""Sampling: noise to latent video under classifier-free guidance, with UniPC on a stated list of noise levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from datasets.errors import UserError
from finetune.conditions import Conditions
from finetune.flow import Velocity, shifted


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSettings:
    """``sigmas`` (falling, in (0, 1]) replaces the shifted levels that ``num_steps`` makes, from ``strength`` down.

    Below a strength of 1 sampling begins at that noise level, from what was carried of the first frames, as SDEdit does
    (Meng et al. 2022, arXiv 2108.01073); it is 1, and begins from pure noise, where there are no first frames.
    Guidance moves the velocity away from the one without commands: 1 is none (Ho and Salimans 2022, arXiv 2207.12598).
    """

    num_steps: int = 1
    strength: float = 0.7
    guidance_scale: float = 1.0
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise UserError(f"num_steps must be at least 1, got {self.num_steps}")
        if not 0 < self.strength <= 1:
            raise UserError(f"strength must lie above 0 and up to 1, got {self.strength}")
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


@torch.no_grad()
def sample(model: Velocity, conditions: Conditions, seed: int | Sequence[int], settings: SamplerSettings) -> Tensor:
    """Latents (B,Z,F,h,w); given frames come back untouched. The same seed gives the same latents.

    With a seed for each clip, none depends on what else is in the batch.
    """
    shape = conditions.carried.shape
    device = conditions.carried.device
    noise = _noise(shape, seed).to(device)
    given = (conditions.given > 0).expand(shape)
    unguided = conditions.unguided()
    # UniPC (Zhao et al. 2023, arXiv 2302.04867) reached in 10 steps what Euler's method needed 20 for.
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
    levels = settings.levels(has_frames=bool(given.any()))
    x = (1 - levels[0]) * conditions.carried + levels[0] * noise
    scheduler.set_timesteps(sigmas=np.array(levels), device=device)
    for level, timestep in zip(levels, scheduler.timesteps, strict=True):
        x = torch.where(given, conditions.carried, x)
        sigma = torch.full((shape[0],), level, device=device)
        velocity = model(x, sigma, conditions)
        if settings.guidance_scale != 1:
            plain = model(x, sigma, unguided)
            velocity = plain + settings.guidance_scale * (velocity - plain)
        x = scheduler.step(velocity.float(), timestep, x, return_dict=False)[0]
    return torch.where(given, conditions.carried, x)


def _noise(shape: Sequence[int], seed: int | Sequence[int]) -> Tensor:
    if isinstance(seed, int):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.cat([_noise((1, *shape[1:]), one) for one in seed])
