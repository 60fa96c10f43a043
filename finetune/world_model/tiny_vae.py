"""The tiny video VAE: an ``AutoencoderKLWan`` initialized from a closed-form PCA of video patches.

Gradient descent from random weights needs more than the minutes that are available on two cores; the PCA is the best
linear autoencoder of its size and takes half a second. Every residual branch of the network is initialized to zero, so
the initial network is exactly the PCA.
"""

import math

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanCausalConv3d,
    WanResidualBlock,
    patchify,
)
from einops import rearrange
from torch import Tensor, nn

# A constant channel so large that it determines the RMS norm, which is then linear in the other channels.
_ANCHOR = 100.0
# Initial standard deviation of the posterior; only its mode is used.
_POSTERIOR_STD = 0.02


def make_vae(latent_channels: int, patch_size: int) -> AutoencoderKLWan:
    """An untrained VAE with ``patch_size`` pixels per latent cell and one latent frame per frame, of 1 + 4k frames."""
    pixels = 3 * patch_size**2
    return AutoencoderKLWan(
        base_dim=8 * math.ceil((2 * latent_channels + 1) / 8),
        z_dim=latent_channels,
        dim_mult=[1],
        num_res_blocks=0,
        attn_scales=[],
        temperal_downsample=[],
        latents_mean=[0.0] * latent_channels,
        latents_std=[1.0] * latent_channels,
        is_residual=False,
        in_channels=pixels,
        out_channels=pixels,
        patch_size=patch_size,
        scale_factor_temporal=1,
        scale_factor_spatial=patch_size,
    )


@torch.no_grad()
def initialize_from_pca(vae: AutoencoderKLWan, video: Tensor, whitening: float = 0.5) -> None:
    """Set the weights of ``vae`` to the PCA of the patches of ``video`` ``(N, 3, T, H, W)`` in [-1, 1].

    Component k is scaled by its variance to the power ``-whitening / 2``: 1 gives every latent channel the same
    variance, 0 keeps the variances of the PCA. The diffusion model trained best with half-whitening.
    """
    latent = vae.config.z_dim
    encode, decode, mean = _fit_patch_pca(vae, video, whitening)
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
        if isinstance(module, WanAttentionBlock):
            nn.init.zeros_(module.proj.weight)
            nn.init.zeros_(module.proj.bias)
    identity = torch.eye(latent)
    _init_input_conv(vae.encoder.conv_in, encode, -encode @ mean, latent)
    _init_output_conv(vae.encoder.conv_out, identity, torch.zeros(latent))
    vae.encoder.conv_out.bias[latent:] = 2 * math.log(_POSTERIOR_STD)
    _init_pointwise_conv(vae.quant_conv, torch.eye(2 * latent))
    _init_pointwise_conv(vae.post_quant_conv, identity)
    _init_input_conv(vae.decoder.conv_in, identity, torch.zeros(latent), latent)
    _init_output_conv(vae.decoder.conv_out, decode, mean)


def _fit_patch_pca(vae: AutoencoderKLWan, video: Tensor, whitening: float) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder ``(z, p)``, decoder ``(p, z)`` and mean ``(p,)`` of the patches; latents have a mean square of 1."""
    patches = rearrange(patchify(video, vae.config.patch_size), "n p t h w -> (n t h w) p")
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov((patches - mean).T))
    variances = variances.flip(0)[: vae.config.z_dim].clamp_min(1e-8)
    directions = directions.flip(1)[:, : vae.config.z_dim]
    scale = variances.pow(whitening / 2)
    scale = scale * (variances / scale**2).mean().sqrt()
    return (directions / scale).T, directions * scale, mean


def _init_input_conv(conv: WanCausalConv3d, weight: Tensor, bias: Tensor, latent: int) -> None:
    """``conv`` outputs y = weight x + bias as the channels y and -y, then the anchor, then small noise."""
    rows = len(weight)
    conv.weight.normal_(0, 2e-4)
    conv.bias.zero_()
    conv.weight[: 2 * latent + 1] = 0
    conv.weight[:rows, :, -1, 1, 1] = weight
    conv.weight[rows : 2 * rows, :, -1, 1, 1] = -weight
    conv.bias[:rows], conv.bias[rows : 2 * rows] = bias, -bias
    conv.bias[2 * rows] = _ANCHOR


def _init_output_conv(conv: WanCausalConv3d, weight: Tensor, bias: Tensor) -> None:
    """``conv`` inverts the norm and the SiLU before it: silu(y) - silu(-y) = y, and the norm divided by the anchor."""
    rows, columns = weight.shape
    # The RMS of n channels of which one is the anchor A, and the others are small, is A / sqrt(n).
    gain = math.sqrt(conv.in_channels) / _ANCHOR
    conv.weight.zero_()
    conv.bias.zero_()
    conv.weight[:rows, :columns, -1, 1, 1] = weight / gain
    conv.weight[:rows, columns : 2 * columns, -1, 1, 1] = -weight / gain
    conv.bias[:rows] = bias


def _init_pointwise_conv(conv: WanCausalConv3d, weight: Tensor) -> None:
    conv.weight.zero_()
    conv.bias.zero_()
    conv.weight[:, :, 0, 0, 0] = weight
