"""Flow matching: noise levels, noise, condition dropout and loss, all pure functions of (seed, step, slot).

x = (1 - sigma) data + sigma noise, and the model predicts the velocity noise - data (Lipman et al. 2023, arXiv
2210.02747; Liu et al. 2023, arXiv 2209.03003). Lightning saves no random state, so a resumed run is exact only because
every random number here is a function of (seed, step, slot).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from driveforge.finetune.world_model.conditions import Conditions, mix
from driveforge.finetune.world_model.continuation import CONTEXT_FRAMES

# Moves noise levels towards the noisy end, as Wan and Stable Diffusion 3 do (Esser et al. 2024, arXiv 2403.03206).
SIGMA_SHIFT = 3.0
# Higher for continuations, because motion is decided at the noisy end.
CONTINUATION_SHIFT = 12.0

# Probability of dropping each condition in training, so that any can be absent and guidance has an unconditional model.
DROP_FRAMES_PROB = 0.10
DROP_LAYOUT_PROB = 0.08
DROP_POSE_PROB = 0.08
DROP_TEXT_PROB = 0.15
# Probability of clean context frames in training with noise in them.
CLEAN_CONTEXT_PROB = 0.10


class VelocityModel(Protocol):
    """Predicts velocities. With ``has_clean_context``, context frames are fed clean and have no loss."""

    @property
    def has_clean_context(self) -> bool: ...

    def __call__(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseDistribution:
    """The shift of noise levels, and the fewest and most latent context frames of a continuation."""

    shift: float
    context_frames: tuple[int, int]


DEFAULT_NOISE = NoiseDistribution(shift=SIGMA_SHIFT, context_frames=CONTEXT_FRAMES)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ContextNoise:
    """Noise in the context frames of a batch, of which the model is not told: ``level`` (B,), 0 where they are clean.

    ``noise`` is like the latents.
    """

    level: Tensor
    noise: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoiseSample:
    """The random numbers of a batch: ``sigma`` (B,), ``noise`` like the latents, and ``drop`` flags (B,) by condition.

    ``num_context_frames`` (B,) is the number of context frames of an unconditional continuation, and 0 in all other
    samples. Without ``context_noise``, all context frames are clean.
    """

    sigma: Tensor
    noise: Tensor
    drop: dict[str, Tensor]
    num_context_frames: Tensor
    context_noise: ContextNoise | None = None


def sample_noise(
    seed: int,
    step: int,
    slots: Sequence[int],
    shape: Sequence[int],
    *,
    continuation_prob: float = 0.0,
    max_context_noise: float = 0.0,
    distribution: NoiseDistribution = DEFAULT_NOISE,
) -> NoiseSample:
    """Samples the noise for ``slots`` of the global batch of ``step``; ``shape`` is one sample's (Z,F,h,w).

    A sample is an unconditional continuation with probability ``continuation_prob``. The level of noise in context
    frames is uniform up to ``max_context_noise``, or 0 with probability ``CLEAN_CONTEXT_PROB``.
    """
    uniforms, normals, noises, contexts = [], [], [], []
    context_levels, context_noises = [], []
    for slot in slots:
        # One generator per slot: a sample's noise does not depend on its rank or on the rest of the batch.
        state = np.random.SeedSequence([seed, step, slot]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
        uniforms.append(torch.rand(4, generator=generator))
        normals.append(torch.randn((), generator=generator))
        noises.append(torch.randn(*shape, generator=generator))
        is_continuation = bool(torch.rand((), generator=generator) < continuation_prob)
        fewest, most = distribution.context_frames
        contexts.append(is_continuation * torch.randint(fewest, most + 1, (), generator=generator))
        if max_context_noise > 0:  # drawn last, so that all other numbers are those of a run without it
            context_levels.append(draw_context_level(torch.rand(2, generator=generator), max_context_noise))
            context_noises.append(torch.randn(*shape, generator=generator))
    uniform_samples, num_context_frames = torch.stack(uniforms), torch.stack(contexts)
    probs = {"frames": DROP_FRAMES_PROB, "layout": DROP_LAYOUT_PROB, "pose": DROP_POSE_PROB, "text": DROP_TEXT_PROB}
    return NoiseSample(
        sigma=shift_sigma(
            torch.sigmoid(torch.stack(normals)),
            torch.where(num_context_frames > 0, CONTINUATION_SHIFT, distribution.shift),
        ),
        noise=torch.stack(noises),
        drop={name: uniform_samples[:, k] < rate for k, (name, rate) in enumerate(probs.items())},
        num_context_frames=num_context_frames,
        context_noise=ContextNoise(level=torch.stack(context_levels), noise=torch.stack(context_noises))
        if context_levels
        else None,
    )


def draw_context_level(uniforms: Tensor, highest: float) -> Tensor:
    """The level of noise in context frames, of ``uniforms`` (2,...) in 0..1 (Helios, arXiv 2603.04379)."""
    is_clean, fraction = uniforms
    return torch.where(is_clean < CLEAN_CONTEXT_PROB, 0.0, highest * fraction)


def shift_sigma(sigma: Tensor, shift: Tensor | float = SIGMA_SHIFT) -> Tensor:
    """Noise levels moved towards 1 for ``shift`` > 1; 0 and 1 stay (Esser et al. 2024, equation 23)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def flow_matching_loss(
    model: VelocityModel, latents: Tensor, cell_weight: Tensor, conditions: Conditions, noise_sample: NoiseSample
) -> Tensor:
    """Mean squared velocity error (B,) of each sample, weighted by cell.

    ``latents`` (B,Z,F,h,w), ``cell_weight`` (B,F,h,w). Context frames have no loss.
    """
    sigma, noise = noise_sample.sigma.to(latents.device), noise_sample.noise.to(latents.device)
    drop = {name: flags.to(latents.device) for name, flags in noise_sample.drop.items()}
    conditions = conditions.without_frames(drop["frames"]).without_layout(drop["layout"])
    conditions = conditions.without_pose(drop["pose"]).without_text(drop["text"])
    conditions = conditions.as_continuation(latents, noise_sample.num_context_frames.to(latents.device))
    context = latents
    if noise_sample.context_noise is not None:
        level, extra = (
            x.to(latents.device) for x in (noise_sample.context_noise.level, noise_sample.context_noise.noise)
        )
        conditions, context = conditions.with_context_noise(level, extra), mix(latents, extra, level)
    noisy = mix_noise(model, latents, noise, sigma, conditions, context)
    error = (model(noisy, sigma, conditions).float() - (noise - latents)).square().mean(1)
    return average_over_generated_cells(error, cell_weight, conditions)


def mix_noise(
    model: VelocityModel,
    latents: Tensor,
    noise: Tensor,
    sigma: Tensor,
    conditions: Conditions,
    context: Tensor | None = None,
) -> Tensor:
    """The noisy latents (B,Z,F,h,w) at noise level ``sigma`` (B,).

    If the model takes context frames in place of noise, those of ``context`` are in it, by default those of
    ``latents``.
    """
    noisy = mix(latents, noise, sigma)
    if not model.has_clean_context:
        return noisy
    return torch.where(conditions.context_mask > 0, latents if context is None else context, noisy)


def average_over_generated_cells(error: Tensor, cell_weight: Tensor, conditions: Conditions) -> Tensor:
    """Mean (B,) of ``error`` (B,F,h,w), weighted by ``cell_weight`` (B,F,h,w), over all frames but the context."""
    weight = cell_weight * (1 - conditions.context_mask[:, 0])
    return (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1.0)
