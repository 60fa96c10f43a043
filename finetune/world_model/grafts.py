"""Grafts: the conditions of driving, added to a released transformer without any effect at the start.

A released patch embedding is a convolution of the noisy latents. Widening it by further input channels with zero
weights is the same as adding a second convolution, with zero weights, of those channels only (the zero convolution of
ControlNet, Zhang et al. 2023, arXiv 2302.05543). As a second convolution the released weights and their configuration
stay as they are: the saved transformer opens in plain diffusers.
"""

import torch
from torch import Tensor, nn

from driveforge.finetune.world_model.clip_tensors import MASK_CHANNELS, RAY_CHANNELS
from driveforge.finetune.world_model.conditions import Conditions

VIEW_CHANNELS = 4
MAX_VIEWS = 8


class Grafts(nn.Module):
    """Embeds mask, warped frames, layout, rays and view as tokens, and the domain as a modulation of every block."""

    def __init__(
        self, *, latent_channels: int, temporal_stride: int, hidden_size: int, modulation_size: int, num_domains: int
    ) -> None:
        super().__init__()
        channels = MASK_CHANNELS + 2 * latent_channels + temporal_stride * RAY_CHANNELS + VIEW_CHANNELS
        self.patch = nn.Conv3d(channels, hidden_size, (1, 2, 2), (1, 2, 2), bias=False)
        self.view = nn.Embedding(MAX_VIEWS, VIEW_CHANNELS)
        self.domain = nn.Embedding(num_domains + 1, modulation_size, padding_idx=0)
        nn.init.zeros_(self.patch.weight)
        nn.init.zeros_(self.domain.weight)
        # Not zero: zero views under zero weights would never get a gradient.
        if not self.view.weight.is_meta:
            self.view.weight.data = torch.randn(MAX_VIEWS, VIEW_CHANNELS, generator=torch.Generator().manual_seed(0))

    def embed(self, conditions: Conditions) -> Tensor:
        """The tokens (B, D, F, h/2, w/2) to add to those of the noisy latents."""
        c = conditions
        batch, _, frames, height, width = c.warped.shape
        ids = torch.arange(frames, device=c.warped.device) // (frames // c.num_views)
        views = self.view(ids).T[None, :, :, None, None].expand(batch, -1, -1, height, width)
        channels = torch.cat([*c.mask, c.warped, c.layout, c.rays, views], 1)
        embedded: Tensor = self.patch(channels.to(self.patch.weight.dtype))
        return embedded

    def modulation(self, conditions: Conditions) -> Tensor:
        """(B, M) to add to the modulation by the noise level."""
        modulation: Tensor = self.domain(conditions.domain)
        return modulation
