"""A small video VAE with strides: the residual architecture of Wan 2.2 (diffusers) with fewer channels."""

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from driveforge.finetune.world_model.wan_codec import to_vae_input

LATENT_CHANNELS = 16
_BASE_CHANNELS = 48
# Convolutions work on patches of 2 x 2 pixels, at a quarter of the cost; two stages with a stride of 2 follow.
_PATCH_PX = 2


def make_strided_vae() -> AutoencoderKLWan:
    """An untrained VAE of 8 x 8 pixels and 4 frames per latent cell; the first frame has a latent frame of its own.

    Its shortcuts average and repeat pixels without weights (``is_residual``), which trains faster than plain stages.
    """
    pixels = 3 * _PATCH_PX**2
    return AutoencoderKLWan(
        base_dim=_BASE_CHANNELS,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[True, True],
        is_residual=True,
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
        in_channels=pixels,
        out_channels=pixels,
        patch_size=_PATCH_PX,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )


@torch.no_grad()
def normalize_latents(vae: AutoencoderKLWan, frames: Tensor) -> None:
    """Store the mean and standard deviation of each latent channel over ``frames`` (N,T,H,W,3) uint8 in ``vae``."""
    latents = torch.cat([vae.encode(to_vae_input(clip[None])).latent_dist.mode() for clip in frames])
    std, mean = torch.std_mean(latents, (0, 2, 3, 4))
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.clamp_min(1e-3).tolist())
