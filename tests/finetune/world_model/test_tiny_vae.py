"""The VAE is initialized to a PCA, and training improves it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from driveforge.datasets.errors import UserError
from driveforge.finetune.training.vae import train_vae
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca, make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec, load_vae, to_frames, to_vae_input


def textured(count: int = 6, seed: int = 0) -> np.ndarray:
    """Clips ``(N, 5, 32, 48, 3)`` of drifting blobs: patches with a falling spectrum, as in natural images."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(count, 12, 2)) * 0.25
    phases, tints = rng.uniform(0, 6, (count, 12)), rng.normal(size=(count, 12, 3)) * 22
    rows, columns = np.mgrid[:32, :48]
    frames = np.full((count, 5, 32, 48, 3), 128.0)
    for t in range(5):
        angle = waves[..., 0, None, None] * (rows + t) + waves[..., 1, None, None] * (columns + 2 * t)
        frames[:, t] += np.einsum("nkhw,nkc->nhwc", np.sin(angle + phases[..., None, None]), tints)
    return frames.clip(0, 255).astype(np.uint8)


def psnr(vae: AutoencoderKLWan, clips: np.ndarray) -> float:
    frames = torch.from_numpy(clips)
    codec = WanCodec(vae)
    error = codec.decode(codec.encode(frames)).float() - frames.float()
    return float(10 * torch.log10(255**2 / error.square().mean()))


def test_signal_round_trip() -> None:
    frames = torch.from_numpy(textured(1))
    assert torch.equal(to_frames(to_vae_input(frames)), frames)


def test_it_starts_as_the_best_linear_autoencoder() -> None:
    clips = textured()
    vae = make_vae(8, 8).eval()
    initialize_from_pca(vae, to_vae_input(torch.from_numpy(clips)))
    patches = clips.reshape(-1, 4, 8, 6, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192).astype(float)
    centered = patches - patches.mean(0)
    values = np.linalg.eigvalsh(np.cov(centered.T))
    best = 10 * np.log10(255**2 / (values[:-8].sum() / 192))
    assert psnr(vae, clips) == pytest.approx(best, abs=0.3)
    latents = WanCodec(vae).encode(torch.from_numpy(clips))
    assert float(latents.std()) == pytest.approx(1.0, abs=0.1)


def test_training_repairs_a_perturbed_vae_and_depends_on_the_seed_only() -> None:
    clips = textured()
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        vae = make_vae(4, 8).eval()
        initialize_from_pca(vae, to_vae_input(torch.from_numpy(clips)))
        with torch.no_grad():
            vae.decoder.conv_out.bias += 0.2
        before = psnr(vae, clips)
        steps = list(train_vae(vae, clips, steps=25, batch_size=4, learning_rate=1e-2, seed=3))
        results.append([step.psnr for step in steps])
        assert psnr(vae, clips) > before + 1
    assert results[0] == results[1]


def test_a_folder_without_a_vae_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no VAE"):
        load_vae(tmp_path)
