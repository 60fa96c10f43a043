"""Per-frame channels of a batch on the latent grid of a codec, as ``ClipEncoder`` makes them of one clip."""

import torch
from einops import rearrange, reduce
from torch import Tensor


def average_over_latent_frames(channels: Tensor, stride: int) -> Tensor:
    """``(N, C, T, h, w)`` averaged over the frames of each latent frame: ``(N, C, F, h, w)``."""
    averaged: Tensor = reduce(_fill_first(channels, stride), "n c (f s) h w -> n c f h w", "mean", s=stride)
    return averaged


def stack_over_latent_frames(channels: Tensor, stride: int) -> Tensor:
    """``(N, C, T, h, w)`` with the frames of each latent frame as channels: ``(N, stride * C, F, h, w)``."""
    stacked: Tensor = rearrange(_fill_first(channels, stride), "n c (f s) h w -> n (s c) f h w", s=stride)
    return stacked


def _fill_first(channels: Tensor, stride: int) -> Tensor:
    """With the first frame repeated, so that it fills its latent frame."""
    return torch.cat([channels[:, :, :1].repeat(1, 1, stride, 1, 1), channels[:, :, 1:]], 2)
