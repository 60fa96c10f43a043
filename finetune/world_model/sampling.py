"""Sampling: noise to latent video under classifier-free guidance."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.flow import SIGMA_SHIFT, shift_sigma
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.step_cache import step_cache_context, step_cache_enabled

# Tells the noise of context frames from that which sampling starts from.
_CONTEXT_STREAM = 1

if TYPE_CHECKING:  # diffusers takes seconds to import
    from driveforge.finetune.world_model.model import WorldModel


def noise_levels(settings: SamplerSettings, *, has_frames: bool, shift: float = SIGMA_SHIFT) -> list[float]:
    """The noise levels of the sampling steps, highest first; the last step ends at 0."""
    even = torch.linspace(1, 0, settings.num_steps + 1, dtype=torch.float64)[:-1]
    highest = settings.strength if has_frames else 1.0
    return list(settings.sigmas) or [highest * float(s) for s in shift_sigma(even, shift)]


def inpaint_levels(settings: SamplerSettings, highest: float) -> list[float]:
    """The noise levels above ``highest`` at which only unwarped cells are sampled, from ``inpaint_strength`` down."""
    if settings.inpaint_strength <= highest:
        return []
    return [float(x) for x in np.linspace(settings.inpaint_strength, highest, settings.inpaint_steps + 1)[:-1]]


@torch.no_grad()
def sample(
    model: "WorldModel",
    conditions: Conditions,
    seed: int | Sequence[int],
    settings: SamplerSettings,
    context_noise: float = 0.0,
) -> Tensor:
    """Latents (B,Z,F,h,w) by the solver of ``model``. The same seed gives the same latents.

    With one seed per clip, the noise of a clip does not depend on the rest of the batch. The model sees the context
    frames with noise of level ``context_noise``; sampling starts from them without it.
    """
    warped, shape = conditions.warped, conditions.warped.shape
    noise = _sample_noise(shape, seed).to(warped.device)
    if context_noise > 0:
        conditions = _add_context_noise(conditions, seed, context_noise)
    context = conditions.warped
    is_context = (conditions.context_mask > 0).expand(shape)
    if not model.has_clean_context:
        is_context = torch.zeros_like(is_context)
    is_warped = (conditions.mask.warped >= 0.5).expand(shape)
    solver = model.make_solver(settings, has_frames=bool((conditions.context_mask > 0).any()))
    upper_levels = inpaint_levels(settings, solver.start_level)
    velocities = _make_velocities(model, conditions, settings)

    def warped_at(level: float) -> Tensor:
        return (1 - level) * warped + level * noise

    x = warped_at(upper_levels[0] if upper_levels else solver.start_level)
    for level, next_level in pairwise([*upper_levels, solver.start_level]):
        velocity, uncond_velocity = velocities(torch.where(is_context, context, x), level)
        if uncond_velocity is not None:
            velocity = uncond_velocity + settings.guidance_scale * (velocity - uncond_velocity)
        x = x + (next_level - level) * velocity  # Euler's method, because the levels are close together
        x = torch.where(is_warped, warped_at(next_level), x)  # warped cells follow the same noise schedule
    state = solver.start(x)
    with step_cache_enabled(model, settings):
        for index, level in enumerate(solver.levels):
            flow = torch.where(is_context, context, solver.to_flow(state, index))
            velocity, uncond_velocity = velocities(flow, level)
            state = solver.step(state, index, velocity, uncond_velocity, settings.guidance_scale)
    return solver.finish(state, warped, is_context)


def _make_velocities(
    model: "WorldModel", conditions: Conditions, settings: SamplerSettings
) -> Callable[[Tensor, float], tuple[Tensor, Tensor | None]]:
    """The velocities at ``(x, level)`` with and without conditions; the latter is None if the guidance scale is 1."""
    negative = model.encode_captions([settings.negative_prompt])[0] if settings.negative_prompt else None
    unconditional = conditions.unconditional(negative)
    # One forward pass keeps a GPU busier than two; on a CPU it would only change the last bits.
    is_batched = conditions.warped.device.type != "cpu" and settings.step_cache == 0

    def velocities(x: Tensor, level: float) -> tuple[Tensor, Tensor | None]:
        sigma = torch.full((len(x),), level, device=x.device)
        if settings.guidance_scale != 1 and is_batched:
            both = model(torch.cat([x, x]), torch.cat([sigma, sigma]), Conditions.cat([conditions, unconditional]))
            velocity, uncond_velocity = both.float().chunk(2)
            return velocity, uncond_velocity
        with step_cache_context(model, "cond", settings):
            velocity = model(x, sigma, conditions).float()
        if settings.guidance_scale == 1:
            return velocity, None
        with step_cache_context(model, "uncond", settings):
            return velocity, model(x, sigma, unconditional).float()

    return velocities


def _add_context_noise(conditions: Conditions, seed: int | Sequence[int], level: float) -> Conditions:
    seeds = [seed] * len(conditions.warped) if isinstance(seed, int) else list(seed)
    own = [int(np.random.SeedSequence([one, _CONTEXT_STREAM]).generate_state(1, np.uint32)[0]) for one in seeds]
    device = conditions.warped.device
    noise = _sample_noise(conditions.warped.shape, own).to(device)
    return conditions.with_context_noise(torch.full((len(seeds),), level, device=device), noise)


def _sample_noise(shape: Sequence[int], seed: int | Sequence[int]) -> Tensor:
    if isinstance(seed, int):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.cat([_sample_noise((1, *shape[1:]), one) for one in seed])
