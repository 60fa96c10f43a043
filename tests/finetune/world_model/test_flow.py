"""Noise is a function of (seed, step, slot), and context and held frames have no loss."""

from dataclasses import replace

import torch

from driveforge.datasets.scene import Clip
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.continuation import CONTEXT_FRAMES
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.flow import (
    DROP_LAYOUT_PROB,
    ContextNoise,
    NoiseSample,
    flow_matching_loss,
    sample_noise,
)
from tests.finetune.function_model import FunctionModel

SHAPE = (4, 5, 4, 6)
KEEP = {name: torch.tensor([False]) for name in ("frames", "layout", "pose", "text")}


def test_noise_does_not_depend_on_the_rest_of_the_batch() -> None:
    together = sample_noise(1, 7, [0, 1, 2, 3], SHAPE)
    single = [sample_noise(1, 7, [slot], SHAPE) for slot in range(4)]
    assert torch.equal(together.noise, torch.cat([d.noise for d in single]))
    assert torch.equal(together.sigma, torch.cat([d.sigma for d in single]))
    assert not torch.equal(together.noise, sample_noise(1, 8, [0, 1, 2, 3], SHAPE).noise)
    assert not torch.equal(together.noise, sample_noise(2, 7, [0, 1, 2, 3], SHAPE).noise)


def test_noise_has_the_documented_distributions() -> None:
    many = sample_noise(0, 0, range(3000), (1, 1, 1, 1))
    assert many.sigma.min() > 0 and many.sigma.max() < 1
    assert 0.70 < many.sigma.median() < 0.80, "a shift of 3 moves the middle from 1/2 to 3/4"
    assert abs(many.drop["layout"].float().mean() - DROP_LAYOUT_PROB) < 0.02
    assert not many.num_context_frames.any()


def test_a_share_of_the_samples_are_continuations() -> None:
    contexts = sample_noise(0, 0, range(3000), (1, 1, 1, 1), continuation_prob=0.3).num_context_frames
    assert abs((contexts > 0).float().mean() - 0.3) < 0.03
    assert set(contexts.tolist()) == {0, *range(CONTEXT_FRAMES[0], CONTEXT_FRAMES[1] + 1)}


def test_noise_in_context_frames_changes_no_other_number() -> None:
    plain = sample_noise(1, 7, range(4), SHAPE, continuation_prob=0.5)
    noisy = sample_noise(1, 7, range(4), SHAPE, continuation_prob=0.5, max_context_noise=0.3)
    assert plain.context_noise is None and noisy.context_noise is not None
    for name in ("sigma", "noise", "num_context_frames"):
        assert torch.equal(getattr(plain, name), getattr(noisy, name)), name
    assert all(torch.equal(flags, noisy.drop[name]) for name, flags in plain.drop.items())
    single = sample_noise(1, 7, [2], SHAPE, continuation_prob=0.5, max_context_noise=0.3).context_noise
    assert single is not None and torch.equal(single.noise[0], noisy.context_noise.noise[2])
    assert torch.equal(single.level[0], noisy.context_noise.level[2])
    assert not torch.equal(noisy.context_noise.noise, noisy.noise)


def test_context_frames_are_clean_one_time_in_ten() -> None:
    noise = sample_noise(0, 0, range(3000), (1, 1, 1, 1), max_context_noise=0.3).context_noise
    assert noise is not None
    is_clean = noise.level == 0
    assert abs(is_clean.float().mean() - 0.1) < 0.02
    assert noise.level.max() <= 0.3 and abs(noise.level[~is_clean].mean() - 0.15) < 0.01


def test_the_model_sees_noise_in_the_context_and_predicts_the_clean_clip(model: TinyWorldModel, clip: Clip) -> None:
    tensors = model.encoder.encode_clip(clip).map(lambda tensor: tensor[None])
    latents = tensors.latents
    conditions = model.batch_conditions(tensors, ["driving-day"], [""])
    noise, extra = (torch.randn(latents.shape, generator=torch.Generator().manual_seed(n)) for n in range(2))
    noise_sample = NoiseSample(
        sigma=torch.tensor([0.5]),
        noise=noise,
        drop=KEEP,
        num_context_frames=torch.zeros(1, dtype=torch.long),
        context_noise=ContextNoise(level=torch.tensor([0.25]), noise=extra),
    )

    def perfect(noisy: torch.Tensor, sigma: torch.Tensor, seen: Conditions) -> torch.Tensor:
        torch.testing.assert_close(noisy[:, :, 0], (0.75 * latents + 0.25 * extra)[:, :, 0])
        torch.testing.assert_close(noisy[:, :, 1:], (0.5 * latents + 0.5 * noise)[:, :, 1:])
        torch.testing.assert_close(seen.warped, 0.75 * conditions.warped + 0.25 * extra)
        return noise - latents

    loss = flow_matching_loss(FunctionModel(perfect), latents, tensors.cell_weight, conditions, noise_sample)
    torch.testing.assert_close(loss, torch.zeros(1), atol=1e-5, rtol=1e-5)

    def without_frames(noisy: torch.Tensor, sigma: torch.Tensor, seen: Conditions) -> torch.Tensor:
        assert not seen.warped.any(), "frames that are not given have no noise either"
        return noise - latents

    dropped = replace(noise_sample, drop=KEEP | {"frames": torch.tensor([True])})
    flow_matching_loss(FunctionModel(without_frames), latents, tensors.cell_weight, conditions, dropped)


def test_a_perfect_model_has_no_loss_and_context_and_held_frames_do_not_count(
    model: TinyWorldModel, clip: Clip
) -> None:
    tensors = model.encoder.encode_clip(clip).map(lambda tensor: tensor[None])
    latents = tensors.latents
    conditions = model.batch_conditions(tensors, ["driving-day"], [""])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noise_sample = NoiseSample(
        sigma=torch.tensor([0.5]), noise=noise, drop=KEEP, num_context_frames=torch.zeros(1, dtype=torch.long)
    )
    weight = torch.tensor([1.0, 1, 1, 0, 0]).view(1, 5, 1, 1).expand(1, *latents.shape[2:])

    def perfect(noisy: torch.Tensor, sigma: torch.Tensor, _: object) -> torch.Tensor:
        assert torch.equal(noisy[:, :, 0], latents[:, :, 0]), "context frames are fed clean"
        return noise - latents

    def wrong_in_context_and_held_frames(*args: object) -> torch.Tensor:
        out = noise - latents
        out[:, :, 0] += 9
        out[:, :, 3:] += 9
        return out

    def wrong(*args: object) -> torch.Tensor:
        return noise - latents + 2

    for velocity, expected in ((perfect, 0.0), (wrong_in_context_and_held_frames, 0.0), (wrong, 4.0)):
        loss = flow_matching_loss(FunctionModel(velocity), latents, weight, conditions, noise_sample)
        torch.testing.assert_close(loss, torch.tensor([expected]), atol=1e-5, rtol=1e-5)
