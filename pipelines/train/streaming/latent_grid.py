"""Per-frame channels of a batch on the latent grid of a codec, as ``ClipEncoder`` makes them of one clip."""

from einops import rearrange
from torch import Tensor

from driveforge.finetune.world_model.codec import group_frames


def average_over_latent_frames(channels: Tensor, stride: int) -> Tensor:
    """``(N, C, T, h, w)`` averaged over the frames of each latent frame: ``(N, C, F, h, w)``."""
    return group_frames(channels.movedim(2, 0), stride).mean(1).movedim(0, 2)


def stack_over_latent_frames(channels: Tensor, stride: int) -> Tensor:
    """``(N, C, T, h, w)`` with the frames of each latent frame as channels: ``(N, stride * C, F, h, w)``."""
    stacked: Tensor = rearrange(group_frames(channels.movedim(2, 0), stride), "f s n c h w -> n (s c) f h w")
    return stacked
