"""Whole clips have the latents and frames that diffusers computes chunk by chunk."""

import pytest
import torch

from driveforge.finetune.training.strided_vae import make_strided_vae
from driveforge.finetune.world_model.tiny_vae import make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.pipelines.train.streaming.whole_clips import decode_clips, encode_clips


@pytest.mark.parametrize("strided", [False, True])
def test_whole_clips_equal_chunks(strided: bool) -> None:
    torch.manual_seed(0)
    codec = WanCodec(make_strided_vae() if strided else make_vae(4, 8))
    frames = torch.randint(0, 256, (9, 9, 16, 24, 3), dtype=torch.uint8)
    latents = encode_clips(codec, frames)
    torch.testing.assert_close(latents, codec.encode(frames), atol=1e-5, rtol=1e-4)
    chunked = codec.vae.decode(codec.denormalize(latents)).sample
    torch.testing.assert_close(decode_clips(codec, latents), chunked, atol=1e-5, rtol=1e-4)
    assert (latents[:, :, 1:] - latents[:, :, :-1]).abs().max() > 0.01, "frames differ"
