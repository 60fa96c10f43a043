"""Training the tiny codec on from its PCA start."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from driveforge.finetune.world_model.vae import to_vae_input

# Clips of this length suffice: the codec looks two frames back.
_FRAMES = 5
# Keeps edges as edges: the error of image differences counts beside the error of pixels.
_EDGE_WEIGHT = 1.0
# The decoder sees latents as a diffusion model would leave them, a little off.
_LATENT_NOISE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeStep:
    """One optimiser step: mean squared error in [0, 1] units as PSNR in dB."""

    step: int
    psnr: float


def train_vae(
    vae: AutoencoderKLWan, clips: NDArray[np.uint8], *, steps: int, batch_size: int, learning_rate: float, seed: int
) -> Iterator[VaeStep]:
    """Train in place on ``clips`` ``(N, T, H, W, 3)`` uint8, cosine learning rate; yields after every step.

    What is drawn at a step depends on (seed, step) alone.
    """
    vae.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(vae.parameters(), learning_rate, (0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(steps):
        phase = step / steps
        warm, cosine = min(1, (step + 1) / 50), max(0.02, 0.5 + 0.5 * np.cos(np.pi * phase))
        optimizer.param_groups[0]["lr"] = learning_rate * warm * cosine
        rng = np.random.Generator(np.random.Philox(key=[seed, step]))
        target = to_vae_input(_sample_crops(clips, rng, batch_size))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        latents = vae.encode(target).latent_dist.mode()
        latents = latents + _LATENT_NOISE * torch.randn(latents.shape, generator=generator)
        output = vae.decode(latents).sample
        error = (output - target).square().mean()
        loss = error + _EDGE_WEIGHT * _edge_error(output, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield VaeStep(step=step, psnr=float(10 * torch.log10(4 / error.detach())))
    vae.eval().requires_grad_(False)


def _sample_crops(clips: NDArray[np.uint8], rng: np.random.Generator, count: int) -> Tensor:
    """``count`` random stretches ``(count, 5, H, W, 3)``."""
    starts = rng.integers(clips.shape[1] - _FRAMES + 1, size=count)
    chosen = rng.integers(len(clips), size=count)
    return torch.from_numpy(np.stack([clips[n, t : t + _FRAMES] for n, t in zip(chosen, starts, strict=True)]))


def _edge_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical neighbour differences of ``(N, 3, T, H, W)``."""
    error = output - target
    return (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) / 2
