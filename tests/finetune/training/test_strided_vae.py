"""The strided VAE: its strides, its training loss, and normalized latents."""

from pathlib import Path

import pytest
import torch

from driveforge.finetune.training.reconstruction import edge_error, psnr, reconstruction_loss, similarity
from driveforge.finetune.training.strided_vae import (
    LATENT_CHANNELS,
    make_strided_vae,
    normalize_latents,
)
from driveforge.finetune.world_model.wan_codec import WanCodec


def smooth_clips(count: int) -> torch.Tensor:
    """(N,9,32,32,3) uint8: waves that move."""
    t, y, x = torch.meshgrid(torch.arange(9.0), torch.arange(32.0), torch.arange(32.0), indexing="ij")
    waves = [torch.sin((x + n * t) / (4 + n) + y / 7) for n in range(count)]
    return torch.stack([(127 + 100 * wave).byte() for wave in waves])[..., None].expand(-1, -1, -1, -1, 3)


def test_a_latent_cell_has_four_frames_and_eight_pixels() -> None:
    vae = make_strided_vae().eval().requires_grad_(False)
    clips = smooth_clips(2)
    latents = WanCodec(vae).encode(clips)
    assert latents.shape == (2, LATENT_CHANNELS, 3, 4, 4)
    assert WanCodec(vae).decode(latents).shape == clips.shape


def test_training_reduces_the_loss() -> None:
    torch.manual_seed(0)
    vae = make_strided_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), 1e-3)
    signal = smooth_clips(1)[:, :5, :16, :16].permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    losses = []
    for _ in range(12):
        output = vae.decode(vae.encode(signal).latent_dist.mode()).sample
        loss = reconstruction_loss(output, signal)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0], losses


def test_normalized_latents_have_zero_mean_and_unit_deviation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = make_strided_vae().eval().requires_grad_(False)
    clips = smooth_clips(3)
    before = WanCodec(vae).decode(WanCodec(vae).encode(clips))
    normalize_latents(vae, clips)
    latents = WanCodec(vae).encode(clips)
    torch.testing.assert_close(latents.mean((0, 2, 3, 4)), torch.zeros(LATENT_CHANNELS), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3, 4)), torch.ones(LATENT_CHANNELS), atol=1e-2, rtol=0)
    assert (WanCodec(vae).decode(latents).float() - before.float()).abs().max() <= 1, "the pictures stay"
    vae.save_pretrained(tmp_path / "vae")
    assert torch.equal(WanCodec.from_pretrained(tmp_path).encode(clips), latents)


def test_terms_of_the_loss() -> None:
    torch.manual_seed(0)
    target = torch.rand(1, 3, 2, 24, 24) * 2 - 1
    assert float(reconstruction_loss(target, target)) == pytest.approx(0, abs=1e-5)
    assert float(edge_error(target + 0.1, target)) == pytest.approx(0, abs=1e-6), "a constant offset has no edges"
    assert float(psnr(target + 0.2, target)) == pytest.approx(20, abs=1e-3)
    noisy = target + 0.3 * torch.randn_like(target)
    assert float(similarity(noisy, target)) < float(similarity(target + 0.02, target)) < 1.0
