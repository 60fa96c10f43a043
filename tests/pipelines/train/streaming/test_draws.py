"""The noise of a batch: shares of noise levels, contexts and dropped conditions."""

from dataclasses import replace

import pytest
import torch

from driveforge.finetune.world_model.continuation import CONTEXT_FRAMES
from driveforge.finetune.world_model.flow import DEFAULT_NOISE, NoiseSample
from driveforge.pipelines.train.streaming.draws import HIGH_NOISE, draw_noise

BATCH = 4000


def draw(
    frames: int = 17,
    context_frames: tuple[int, int] = CONTEXT_FRAMES,
    continuation_prob: float = 0.3,
    high_noise_share: float = 0.1,
    max_context_noise: float = 0.0,
) -> NoiseSample:
    return draw_noise(
        torch.zeros(BATCH, 1, frames, 1, 1),
        torch.Generator().manual_seed(0),
        continuation_prob=continuation_prob,
        high_noise_share=high_noise_share,
        max_context_noise=max_context_noise,
        distribution=replace(DEFAULT_NOISE, context_frames=context_frames),
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_commanded_samples_have_their_share_of_high_noise(share: float) -> None:
    noise, usual = draw(high_noise_share=share), draw(high_noise_share=0.0)
    commanded = noise.num_context_frames == 0
    assert commanded.float().mean() == pytest.approx(0.7, abs=0.03)
    added = noise.sigma != usual.sigma
    assert not added[~commanded].any(), "continuations keep their levels"
    assert added[commanded].float().mean() == pytest.approx(share, abs=0.03)
    assert ((noise.sigma[added] >= HIGH_NOISE[0]) & (noise.sigma[added] <= HIGH_NOISE[1])).all()


def test_noise_in_context_frames_changes_no_other_number() -> None:
    plain, noisy = draw(), draw(max_context_noise=0.3)
    assert plain.context_noise is None and noisy.context_noise is not None
    assert torch.equal(plain.sigma, noisy.sigma) and torch.equal(plain.noise, noisy.noise)
    level = noisy.context_noise.level
    assert (level == 0).float().mean() == pytest.approx(0.1, abs=0.02)
    assert level.max() <= 0.3 and level[level > 0].mean() == pytest.approx(0.15, abs=0.01)


def test_noise_levels_are_stratified_and_continuations_have_more() -> None:
    sigma = draw(continuation_prob=0.0, high_noise_share=0.0).sigma
    assert ((sigma > 0) & (sigma < 1)).all()
    small = draw_noise(
        torch.zeros(16, 1, 5, 1, 1),
        torch.Generator().manual_seed(1),
        continuation_prob=0.0,
        high_noise_share=0.0,
        distribution=DEFAULT_NOISE,
    ).sigma
    assert small.min() < 0.6 and small.max() > 0.85, "also a small batch has levels from low to high"
    noise = draw(high_noise_share=0.0)
    is_continuation = noise.num_context_frames > 0
    assert noise.sigma[is_continuation].median() > noise.sigma[~is_continuation].median()
    assert noise.sigma[noise.drop["frames"]].median() > noise.sigma[~noise.drop["frames"]].median() - 0.05


@pytest.mark.parametrize(
    ("frames", "context_frames", "contexts"), [(17, (2, 6), {2, 3, 4, 5, 6}), (5, (2, 2), {2}), (2, (2, 6), {1})]
)
def test_contexts_leave_a_frame_to_predict(frames: int, context_frames: tuple[int, int], contexts: set[int]) -> None:
    numbers = set(draw(frames, context_frames).num_context_frames.tolist()) - {0}
    assert numbers == contexts
    assert max(numbers) < frames


def test_conditions_are_dropped_alone_and_together() -> None:
    drop = draw().drop
    assert drop["frames"].float().mean() == pytest.approx(0.25, abs=0.03)
    together = drop["layout"] & drop["pose"] & drop["text"]
    assert together.float().mean() == pytest.approx(0.05, abs=0.015)
