"""Flow matching: noise levels, noise, condition dropout and loss, all pure functions of (seed, step, slot).

x = (1 - sigma) data + sigma noise, and the model predicts the velocity noise - data (Lipman et al. 2023, arXiv
2210.02747; Liu et al. 2023, arXiv 2209.03003). Lightning keeps no random state, so a resumed run is exact only if
nothing here depends on how often a generator was asked before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from driveforge.finetune.world_model.continuation import CONTEXT_FRAMES

if TYPE_CHECKING:
    from driveforge.finetune.world_model.conditions import Conditions

# Moves noise levels towards the noisy end, as Wan and Stable Diffusion 3 do (Esser et al. 2024, arXiv 2403.03206).
SIGMA_SHIFT = 3.0
# Further so where a sample is to go on by itself: how things will move is decided at the noisy end.
CONTINUATION_SHIFT = 12.0

# How often training withholds a condition, so that each can be absent and guidance has something to steer away from.
DROP_FRAMES_PROB = 0.10
DROP_LAYOUT_PROB = 0.08
DROP_POSE_PROB = 0.08
DROP_TEXT_PROB = 0.15


class VelocityModel(Protocol):
    def __call__(self, noisy: Tensor, sigma: Tensor, conditions: "Conditions") -> Tensor: ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoiseSample:
    """The random part of one batch: ``sigma`` (B,), ``noise`` like the latents, and drop flags (B,) by condition.

    ``num_context_frames`` (B,) is the number of frames from which a sample is to go on without a command, 0 under command.
    """

    sigma: Tensor
    noise: Tensor
    drop: dict[str, Tensor]
    num_context_frames: Tensor


def sample_noise(
    seed: int, step: int, slots: Sequence[int], shape: Sequence[int], *, continuation_prob: float = 0.0
) -> NoiseSample:
    """Draws for the samples at ``slots`` of the global batch of ``step``; ``shape`` is one sample's (Z,F,h,w).

    A share of ``continuation_prob`` of all samples is to go on from a few frames.
    """
    uniforms, normals, noises, contexts = [], [], [], []
    for slot in slots:
        state = np.random.SeedSequence([seed, step, slot]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
        uniforms.append(torch.rand(4, generator=generator))
        normals.append(torch.randn((), generator=generator))
        noises.append(torch.randn(*shape, generator=generator))
        is_continuation = bool(torch.rand((), generator=generator) < continuation_prob)
        contexts.append(
            is_continuation * torch.randint(CONTEXT_FRAMES[0], CONTEXT_FRAMES[1] + 1, (), generator=generator)
        )
    uniform_samples, num_context_frames = torch.stack(uniforms), torch.stack(contexts)
    probs = {"frames": DROP_FRAMES_PROB, "layout": DROP_LAYOUT_PROB, "pose": DROP_POSE_PROB, "text": DROP_TEXT_PROB}
    return NoiseSample(
        sigma=shift_sigma(
            torch.sigmoid(torch.stack(normals)), torch.where(num_context_frames > 0, CONTINUATION_SHIFT, SIGMA_SHIFT)
        ),
        noise=torch.stack(noises),
        drop={name: uniform_samples[:, k] < rate for k, (name, rate) in enumerate(probs.items())},
        num_context_frames=num_context_frames,
    )


def shift_sigma(sigma: Tensor, shift: Tensor | float = SIGMA_SHIFT) -> Tensor:
    return shift * sigma / (1 + (shift - 1) * sigma)


def flow_matching_loss(
    model: VelocityModel, latents: Tensor, cell_weight: Tensor, conditions: "Conditions", noise_sample: NoiseSample
) -> Tensor:
    """Mean squared velocity error (B,) of each sample, its cells weighted.

    ``latents`` (B,Z,F,h,w), ``cell_weight`` (B,F,h,w). Given frames are fed clean and carry no loss.
    """
    sigma, noise = noise_sample.sigma.to(latents.device), noise_sample.noise.to(latents.device)
    drop = {name: flags.to(latents.device) for name, flags in noise_sample.drop.items()}
    conditions = conditions.without_frames(drop["frames"]).without_layout(drop["layout"])
    conditions = conditions.without_pose(drop["pose"]).without_text(drop["text"])
    conditions = conditions.as_continuation(latents, noise_sample.num_context_frames.to(latents.device))
    level = sigma.view(-1, 1, 1, 1, 1)
    noisy = torch.where(conditions.context_mask > 0, latents, (1 - level) * latents + level * noise)
    error = (model(noisy, sigma, conditions).float() - (noise - latents)).square().mean(1)
    weight = cell_weight * (1 - conditions.context_mask[:, 0])
    return (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1.0)
