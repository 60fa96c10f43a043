"""Loss per noise level and for moving and static regions.

Forgetting differs by noise level (Zajac et al. 2023, arXiv 2303.15342), and moving objects cover few cells, so a mean
over all levels and cells would hide it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from driveforge.finetune.evaluation.clips import EvaluationClip, make_batch
from driveforge.finetune.evaluation.random_numbers import make_generator
from driveforge.finetune.evaluation.results import EvaluationValue
from driveforge.finetune.evaluation.settings import EvaluationSettings, Mode
from driveforge.finetune.world_model.codec import count_latent_frames
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.flow import VelocityModel, mix_noise
from driveforge.finetune.world_model.model import WorldModel

NO_MOVING_PIXELS = "no moving pixels"
NO_STATIC_PIXELS = "no static pixels"
MIN_CELLS = 1.0  # a region with fewer cells, summed over all frames, has no loss


def measure_losses(
    model: WorldModel, clips: Sequence[EvaluationClip], settings: EvaluationSettings
) -> Iterator[EvaluationValue]:
    """``loss/<mode>/<low>-<high>/<region>`` of each clip: mean squared velocity error after the context frames.

    Regions are ``all``, ``moving`` (cells weighted by the share that shows moving objects) and ``static`` (cells
    without any). Noise and noise level are functions of the seed, the clip and the bin.
    """
    latents, command = make_batch(model, clips)
    num_context_frames = count_latent_frames(settings.context_frames, model.codec.temporal_stride)
    for mode in settings.modes:
        conditions = _select_conditions(command, latents, mode, num_context_frames)
        for bin_index, (low, high) in enumerate(settings.bins):
            error = _velocity_errors(model, latents, conditions, clips, settings, bin_index, (low, high))
            for clip, clip_error in zip(clips, error, strict=True):
                yield from _losses_by_region(clip, clip_error, f"loss/{mode}/{low:g}-{high:g}", num_context_frames)


def _select_conditions(command: Conditions, latents: Tensor, mode: Mode, context_frames: int) -> Conditions:
    num_context_frames = torch.full(
        (len(latents),), context_frames if mode == "continuation" else 0, device=latents.device
    )
    return command.as_continuation(latents, num_context_frames)


def _velocity_errors(
    model: VelocityModel,
    latents: Tensor,
    conditions: Conditions,
    clips: Sequence[EvaluationClip],
    settings: EvaluationSettings,
    bin_index: int,
    sigma_range: tuple[float, float],
) -> Tensor:
    """Squared velocity errors (B,F,h,w), the mean of all channels."""
    generators = [make_generator(settings.seed, clip, f"loss {bin_index}") for clip in clips]
    fractions = torch.stack([torch.rand((), generator=generator) for generator in generators])
    noise = torch.stack([torch.randn(latents.shape[1:], generator=generator) for generator in generators])
    sigma = (sigma_range[0] + (sigma_range[1] - sigma_range[0]) * fractions).to(latents.device)
    noise = noise.to(latents.device)
    noisy = mix_noise(model, latents, noise, sigma, conditions)
    return (model(noisy, sigma, conditions).float() - (noise - latents)).square().mean(1).cpu()


def _losses_by_region(clip: EvaluationClip, error: Tensor, name: str, context_frames: int) -> Iterator[EvaluationValue]:
    error, moving = error[context_frames:], clip.tensors.moving.float()[context_frames:].numpy()
    regions = {
        "all": (np.ones_like(moving), ""),
        "moving": (moving, NO_MOVING_PIXELS),
        "static": ((moving == 0).astype(np.float32), NO_STATIC_PIXELS),
    }
    for region, (weight, reason) in regions.items():
        total_weight = float(weight.sum())
        value = float((error.numpy() * weight).sum() / total_weight) if total_weight >= MIN_CELLS else None
        yield EvaluationValue(
            clip_id=clip.clip_id,
            domain=clip.domain,
            measure=f"{name}/{region}",
            value=value,
            reason="" if value is not None else reason,
        )
