"""Encoding and decoding of whole clips at once.

diffusers' ``AutoencoderKLWan`` works through a clip in chunks of frames, which saves memory and keeps a GPU waiting for
small kernels. Without a temporal stride its causal convolutions give the same result in one pass.
"""

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import Tensor

from driveforge.finetune.world_model.wan_codec import WanCodec, to_vae_input

# Clips in one pass of the encoder; cuDNN searches an algorithm for every new batch size.
_ENCODER_BATCH = 8


@torch.no_grad()
def encode_clips(codec: WanCodec, frames: Tensor) -> Tensor:
    """Normalized latents (N,Z,F,h,w) of uint8 ``frames`` (N,T,H,W,3), as ``codec.encode`` gives them."""
    if codec.temporal_stride > 1:
        return codec.encode(frames)
    return torch.cat([_encode(codec, to_vae_input(part)) for part in torch.split(frames, _ENCODER_BATCH)])


def _encode(codec: WanCodec, signal: Tensor) -> Tensor:
    vae = codec.vae
    mode, _ = vae.quant_conv(vae.encoder(patchify(signal, vae.config.patch_size))).chunk(2, 1)
    return codec.normalize(mode)


def decode_clips(codec: WanCodec, latents: Tensor) -> Tensor:
    """The signal (N,3,T,H,W) in [-1, 1] of normalized latents (N,Z,F,h,w), with gradients."""
    vae, denormalized = codec.vae, codec.denormalize(latents)
    signal: Tensor
    if codec.temporal_stride > 1:
        signal = vae.decode(denormalized).sample
    else:
        patches = vae.decoder(vae.post_quant_conv(denormalized))
        signal = unpatchify(patches, vae.config.patch_size).clamp(-1, 1)
    return signal
