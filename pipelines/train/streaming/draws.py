"""The random numbers of a batch, made on the device.

``flow.sample_noise`` seeds one generator per sample on the CPU, so that a run can be resumed exactly; at a thousand
samples per second that is too slow, and a run by the clock cannot be repeated anyway.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from driveforge.finetune.world_model.flow import (
    CONTINUATION_SHIFT,
    DROP_LAYOUT_PROB,
    DROP_POSE_PROB,
    DROP_TEXT_PROB,
    SIGMA_SHIFT,
    ContextNoise,
    NoiseDistribution,
    NoiseSample,
    draw_context_level,
    shift_sigma,
)

# More than in a fine-tune: only these samples teach clips without a first frame. Their noise levels are higher,
# because the scene is decided at the noisy end.
_DROP_FRAMES_PROB, _NO_FRAME_SHIFT = 0.25, 6.0
# Of samples without layout, pose and text at once, the condition that guidance steers away from.
_DROP_ALL_PROB = 0.05
# A part of the samples has less noise than in a fine-tune, for samplers of several steps: its share and its shift.
_LOW_NOISE_COMMANDED, _LOW_NOISE_NO_FRAME, _LOW_NOISE_CONTINUATION = (0.15, 1.0), (0.25, 2.0), (0.35, SIGMA_SHIFT)
# Samplers that start from pure noise need these levels, which a logit-normal seldom reaches.
HIGH_NOISE = (0.97, 1.0)


def draw_noise(
    latents: Tensor,
    generator: torch.Generator,
    *,
    continuation_prob: float,
    high_noise_share: float,
    max_context_noise: float = 0.0,
    distribution: NoiseDistribution,
) -> NoiseSample:
    """Noise for ``latents`` (B,Z,F,h,w), with noise levels stratified over the batch.

    A share ``high_noise_share`` of the commanded samples, those that are not continuations, is at ``HIGH_NOISE``.
    """
    batch = len(latents)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=latents.device)

    num_context = _draw_context(uniform, batch, continuation_prob, distribution, latents.shape[2])
    frames, layout, pose, text, everything = uniform(5, batch)
    drop_all = everything < _DROP_ALL_PROB
    drop = {
        "frames": frames < _DROP_FRAMES_PROB,
        "layout": (layout < DROP_LAYOUT_PROB) | drop_all,
        "pose": (pose < DROP_POSE_PROB) | drop_all,
        "text": (text < DROP_TEXT_PROB) | drop_all,
    }
    quantile = (uniform(batch).argsort() + uniform(batch)) / batch
    logit = torch.special.ndtri(quantile.clamp(1e-4, 1 - 1e-4))
    sigma = shift_sigma(torch.sigmoid(logit), _choose_shift(uniform(batch), drop["frames"], num_context > 0))
    low, high = HIGH_NOISE
    is_high = (uniform(batch) < high_noise_share) & (num_context == 0)
    sample = NoiseSample(
        sigma=torch.where(is_high, low + (high - low) * uniform(batch), sigma),
        noise=torch.randn(latents.shape, generator=generator, device=latents.device),
        drop=drop,
        num_context_frames=num_context,
    )
    if max_context_noise == 0:
        return sample
    level = draw_context_level(uniform(2, batch), max_context_noise)
    extra = torch.randn(latents.shape, generator=generator, device=latents.device)
    return replace(sample, context_noise=ContextNoise(level=level, noise=extra))


def _draw_context(
    uniform: Callable[..., Tensor], batch: int, continuation_prob: float, distribution: NoiseDistribution, frames: int
) -> Tensor:
    """Number (B,) of context latent frames, 0 in commanded samples; at least one frame is left to predict."""
    fewest, most = (min(number, frames - 1) for number in distribution.context_frames)
    number = fewest + (uniform(batch) * (most - fewest + 1)).long()
    return torch.where(uniform(batch) < continuation_prob, number, torch.zeros_like(number))


def _choose_shift(uniforms: Tensor, has_no_frame: Tensor, is_continuation: Tensor) -> Tensor:
    """The shift (B,) of each sample's noise level; ``uniforms`` (B,) select the samples with less noise."""

    def choose(usual: float, low_noise: tuple[float, float]) -> Tensor:
        share, shift = low_noise
        return torch.where(uniforms < share, shift, usual)

    commanded = choose(SIGMA_SHIFT, _LOW_NOISE_COMMANDED)
    no_frame = choose(_NO_FRAME_SHIFT, _LOW_NOISE_NO_FRAME)
    continuation = choose(CONTINUATION_SHIFT, _LOW_NOISE_CONTINUATION)
    return torch.where(is_continuation, continuation, torch.where(has_no_frame, no_frame, commanded))
