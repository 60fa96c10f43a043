"""The same seed gives the same frames, and each sampler setting has its documented effect."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.finetune.world_model.clip_tensors import ConditionMask
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import inpaint_levels, noise_levels, sample
from tests.defaults import sampler_settings
from tests.finetune.function_model import FunctionModel

QUICK = sampler_settings(num_steps=2)


@pytest.fixture
def generator(model: TinyWorldModel, tmp_path: Path) -> WorldModelGenerator:
    model.save_pretrained(tmp_path / "model")
    return WorldModelGenerator.load(tmp_path / "model")


def test_same_seed_same_frames(generator: WorldModelGenerator, clip: Clip) -> None:
    first = clip.frames[:, :1]
    one, again, other = (generator.generate(clip.scene, first, seed=s, settings=QUICK) for s in (1, 1, 2))
    assert np.array_equal(one.frames, again.frames)
    assert not np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.frames[:, 0], other.frames[:, 0]), "the context frame does not depend on the seed"
    assert one.frames.shape == clip.frames.shape


def test_it_generates_without_first_frames(generator: WorldModelGenerator, clip: Clip) -> None:
    made = generator.generate(clip.scene, None, seed=1, settings=QUICK)
    assert made.frames.shape == clip.frames.shape


def test_reconstruct_is_the_vae_only(generator: WorldModelGenerator, clip: Clip) -> None:
    reconstructed = generator.reconstruct(clip)
    assert np.abs(reconstructed.frames.astype(int) - clip.frames).mean() < 30
    assert np.array_equal(
        reconstructed.frames[:, 0],
        generator.generate(clip.scene, clip.frames[:, :1], seed=0, settings=QUICK).frames[:, 0],
    )


def test_levels_are_even_and_shifted_or_explicit() -> None:
    settings = sampler_settings(num_steps=2, strength=0.6, inpaint_steps=2, inpaint_strength=0.9)
    assert noise_levels(settings, has_frames=True) == pytest.approx([0.6, 0.45])
    assert noise_levels(settings, has_frames=False) == pytest.approx([1.0, 0.75]), "without frames, from pure noise"
    assert noise_levels(sampler_settings(sigmas=(0.9, 0.3)), has_frames=True) == [0.9, 0.3]
    assert inpaint_levels(settings, 0.6) == pytest.approx([0.9, 0.75])
    assert inpaint_levels(settings, 1.0) == [], "all regions start above it"
    with pytest.raises(UserError, match="decrease"):
        sampler_settings(sigmas=(0.3, 0.9))
    with pytest.raises(UserError, match="num_steps"):
        sampler_settings(num_steps=0)
    with pytest.raises(UserError, match="strength"):
        sampler_settings(strength=0.0)


def _conditions(value: float) -> Conditions:
    zeros = torch.zeros(1, 2, 3, 2, 2)
    return Conditions(
        warped=zeros,
        layout=zeros + value,
        mask=ConditionMask.from_channels(torch.zeros(1, 4, 3, 2, 2)),
        rays=torch.zeros(1, 6, 3, 2, 2),
        domain=torch.zeros(1, dtype=torch.long),
        text=torch.zeros(1, 12, dtype=torch.long),
        empty_text=torch.zeros(12, dtype=torch.long),
    )


@pytest.mark.parametrize(
    "settings",
    [
        sampler_settings(num_steps=8, guidance_scale=1.0),
        sampler_settings(sigmas=(1.0, 0.8, 0.5, 0.2), guidance_scale=1.0),
    ],
)
def test_the_sampler_converges_to_the_data(settings: SamplerSettings) -> None:
    """With the exact velocity towards a constant, the sampler ends on the constant."""

    def towards(noisy: torch.Tensor, sigma: torch.Tensor, c: Conditions) -> torch.Tensor:
        return (noisy - c.layout) / sigma.view(-1, 1, 1, 1, 1)

    out = sample(FunctionModel(towards), _conditions(0.7), 0, settings)
    torch.testing.assert_close(out, torch.full_like(out, 0.7), atol=1e-3, rtol=0)


def test_guidance_moves_away_from_the_unconditional_sample() -> None:
    def towards(noisy: torch.Tensor, sigma: torch.Tensor, c: Conditions) -> torch.Tensor:
        return (noisy - c.layout) / sigma.view(-1, 1, 1, 1, 1)

    out = sample(FunctionModel(towards), _conditions(0.5), 0, sampler_settings(num_steps=8, guidance_scale=2.0))
    torch.testing.assert_close(out, torch.full_like(out, 1.0), atol=1e-2, rtol=0)


def test_only_unwarped_regions_start_at_the_higher_level() -> None:
    """Left half warped, right half not: until ``strength`` the left stays the warped frames under noise."""
    conditions = _conditions(0.0)
    mask = ConditionMask.from_channels(conditions.mask.to_channels())
    mask.context[:, :, 0] = 1  # the first frame is given, and all of it is warped
    mask.warped[:, :, 0], mask.warped[..., 0] = 1, 1
    conditions = replace(conditions, warped=torch.full_like(conditions.warped, 2.0), mask=mask)
    visited: list[tuple[float, torch.Tensor]] = []

    def zero_velocity(noisy: torch.Tensor, sigma: torch.Tensor, c: Conditions) -> torch.Tensor:
        visited.append((float(sigma[0]), noisy))
        return torch.zeros_like(noisy)

    settings = sampler_settings(num_steps=1, strength=0.5, inpaint_steps=2, inpaint_strength=0.9, guidance_scale=1.0)
    sample(FunctionModel(zero_velocity), conditions, 0, settings)
    assert [level for level, _ in visited] == pytest.approx([0.9, 0.7, 0.5])
    noise = torch.randn(1, 2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for level, x in visited:
        assert (x[:, :, 0] == 2.0).all(), "the context frame is clean at every level"
        expected = (1 - level) * 2.0 + level * noise[:, :, 1:, :, 0]
        torch.testing.assert_close(x[:, :, 1:, :, 0], expected, atol=1e-6, rtol=0)
    right = [x[:, :, 1:, :, 1] for _, x in visited]
    torch.testing.assert_close(right[0], right[-1], msg="with zero velocity it does not change")
