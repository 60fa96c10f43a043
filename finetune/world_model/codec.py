"""The codec of a world model: video to latents and back, and how frames are grouped into latent frames.

Shape legend: N clips, T frames, H W pixels, Z latent channels, F latent frames, h w latent grid.
"""

from typing import Protocol

import torch
from torch import Tensor


class Codec(Protocol):
    """Encodes and decodes video.

    Latents have ``channels`` Z; a cell covers ``spatial_stride`` x ``spatial_stride`` pixels. Latent frame 0 encodes
    frame 0, and latent frame n > 0 the ``temporal_stride`` frames up to frame n * ``temporal_stride``. Encoding is
    causal: a latent frame does not depend on later frames. A clip has 1 + k * ``frame_step`` frames.
    """

    channels: int
    temporal_stride: int
    spatial_stride: int
    frame_step: int

    def encode(self, frames: Tensor) -> Tensor:
        """Normalized latents (N,Z,F,h,w) of uint8 frames (N,T,H,W,3)."""

    def decode(self, latents: Tensor, *, tiled: bool = False) -> Tensor:
        """Frames uint8 (N,T,H,W,3) of normalized latents (N,Z,F,h,w); large frames in tiles if ``tiled``."""

    def digest(self) -> str:
        """12 hex digits of the weights and the configuration."""

    def to(self, device: torch.device | str) -> None:
        """Move the weights to ``device``."""


def count_latent_frames(num_frames: int, temporal_stride: int) -> int:
    """Latent frames that the first ``num_frames`` frames of a clip determine completely."""
    return 1 + (num_frames - 1) // temporal_stride if num_frames > 0 else 0


def count_frames(num_latent_frames: int, temporal_stride: int) -> int:
    """Frames that the first ``num_latent_frames`` latent frames decode to."""
    return 1 + (num_latent_frames - 1) * temporal_stride if num_latent_frames > 0 else 0


def group_frames(values: Tensor, temporal_stride: int) -> Tensor:
    """``values`` (T,...) by latent frame: (F, temporal_stride, ...); frame 0 fills its group by repetition.

    With stride 4, frames 0 1 2 3 4 become the groups 0 0 0 0 and 1 2 3 4. Wan repeats the mask of the first frame in
    the same way.
    """
    first = values[:1].expand(temporal_stride, *values.shape[1:])
    padded = torch.cat([first, values[1:]])
    return padded.view(-1, temporal_stride, *values.shape[1:])
