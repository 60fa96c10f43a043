"""Training of the tiny VAE from its PCA initialization."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from driveforge.finetune.training.reconstruction import edge_error
from driveforge.finetune.world_model.wan_codec import to_vae_input

# Long enough, because the VAE's convolutions reach two frames back.
_FRAMES = 5
# Of the error of image gradients, which keeps edges sharp.
_EDGE_WEIGHT = 1.0
# Noise on the latents in training, because generated latents are not exact.
_LATENT_NOISE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeStep:
    """One optimizer step and its PSNR in dB."""

    step: int
    psnr: float


def train_vae(
    vae: AutoencoderKLWan, clips: NDArray[np.uint8], *, steps: int, batch_size: int, learning_rate: float, seed: int
) -> Iterator[VaeStep]:
    """Train in place on ``clips`` ``(N, T, H, W, 3)`` uint8 with a cosine learning rate; yields after every step.

    The crops and noise of a step depend on (seed, step) only.
    """
    vae.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(vae.parameters(), learning_rate, (0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(steps):
        warmup = min(1, (step + 1) / 50)
        cosine = max(0.02, 0.5 + 0.5 * np.cos(np.pi * step / steps))
        optimizer.param_groups[0]["lr"] = learning_rate * warmup * cosine
        rng = np.random.Generator(np.random.Philox(key=[seed, step]))
        target = to_vae_input(_sample_crops(clips, rng, batch_size))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        latents = vae.encode(target).latent_dist.mode()
        latents = latents + _LATENT_NOISE * torch.randn(latents.shape, generator=generator)
        output = vae.decode(latents).sample
        error = (output - target).square().mean()
        loss = error + _EDGE_WEIGHT * edge_error(output, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # The signal is in [-1, 1], so its peak squared is 4.
        yield VaeStep(step=step, psnr=float(10 * torch.log10(4 / error.detach())))
    vae.eval().requires_grad_(False)


def _sample_crops(clips: NDArray[np.uint8], rng: np.random.Generator, count: int) -> Tensor:
    """``count`` random intervals ``(count, 5, H, W, 3)`` of the clips."""
    starts = rng.integers(clips.shape[1] - _FRAMES + 1, size=count)
    chosen = rng.integers(len(clips), size=count)
    return torch.from_numpy(np.stack([clips[n, t : t + _FRAMES] for n, t in zip(chosen, starts, strict=True)]))
