"""Per-frame channels on the latent grid of a VAE with a temporal stride."""

import torch
from einops import rearrange
from torch import Tensor


def num_latent_frames(num_frames: int, stride: int) -> int:
    """Latent frames that ``num_frames`` frames reach: one for the first frame, one for every ``stride`` later ones."""
    return 1 + -(-(num_frames - 1) // stride)


def average_over_latent_frames(channels: Tensor, stride: int) -> Tensor:
    """``(N, C, T, h, w)`` averaged over the frames of each latent frame: ``(N, C, F, h, w)``."""
    if stride == 1:
        return channels
    later = rearrange(channels[:, :, 1:], "n c (f s) h w -> n c f s h w", s=stride).mean(3)
    return torch.cat([channels[:, :, :1], later], 2)


def last_of_latent_frames(channels: Tensor, stride: int) -> Tensor:
    """``(N, C, T, h, w)`` at the last frame of each latent frame: ``(N, C, F, h, w)``."""
    return channels[:, :, ::stride]
