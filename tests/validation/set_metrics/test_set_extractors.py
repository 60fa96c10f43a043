"""Motion and appearance features, on synthetic clips and in the simulated world."""

import cv2
import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.validation.set_metrics.appearance import appearance_extractor, frame_appearance_features
from driveforge.validation.set_metrics.features import Extractor, embed_clips
from driveforge.validation.set_metrics.frechet import frechet, frechet_distance
from driveforge.validation.set_metrics.motion import ANGLES, COLUMNS, ROWS, motion_extractor, motion_histograms
from tests.defaults import simulation_config
from tests.validation.pixel_clips import clip_from_frames


def sliding(velocity: tuple[float, float], num_frames: int = 9, name: str = "sliding") -> Clip:
    """A random image that moves by ``velocity`` px per frame, right and down, in frames of 128 x 128."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.normal(size=(300, 300, 3)), (0, 0), 2)
    picture = (127 + 40 * noise / noise.std()).astype(np.float32)
    moves = [np.float32([[1, 0, velocity[0] * t - 80], [0, 1, velocity[1] * t - 80]]) for t in range(num_frames)]
    return clip_from_frames(np.stack([cv2.warpAffine(picture, move, (128, 128)) for move in moves]), name)


@pytest.mark.parametrize(
    ("velocity", "direction"), [((2.0, 0.0), 0), ((2.0, 2.0), 1), ((0.0, 2.0), 2), ((-2.0, 0.0), 4), ((0.0, -2.0), 6)]
)
def test_motion_votes_for_its_direction_and_in_doublings_of_its_speed(
    velocity: tuple[float, float], direction: int
) -> None:
    histograms = motion_histograms(sliding(velocity)).reshape(2, 2, ROWS, COLUMNS, ANGLES)
    speed = np.hypot(*velocity) * 2  # of 256 rows
    inner = histograms[0, :, 1:-1, 1:-1]
    assert inner.argmax(-1).tolist() == np.full(inner.shape[:-1], direction).tolist()
    np.testing.assert_allclose(inner[..., direction], np.log2(1 + speed) / 8, atol=0.02)


def test_steady_motion_has_almost_no_acceleration_and_a_stop_has() -> None:
    steady = sliding((3.0, 0.0))
    velocity, acceleration = np.split(motion_histograms(steady), 2)
    stop = motion_histograms(clip_from_frames(steady.frames[0][[0, 1, 2, 3, 4, 5, 6, 6, 6]]))
    stopped, braked = (part.reshape(2, -1, ANGLES) for part in np.split(stop, 2))
    assert acceleration.max() < 0.05 * velocity.max()
    assert braked[0].max() < 0.05 * velocity.max()
    assert (braked[1].argmax(-1) == ANGLES // 2).all() and braked[1].min(0)[ANGLES // 2] > 0.2 * velocity.max()
    assert stopped[1].sum() == pytest.approx(stopped[0].sum() / 2, rel=0.1)
    assert motion_histograms(clip_from_frames(steady.frames[0][[0] * 9])).max() < 0.01


def test_a_clip_without_tracks_counts_as_static_and_short_ones_are_refused() -> None:
    assert not motion_histograms(clip_from_frames(np.full((9, 64, 64, 3), 90.0))).any()
    with pytest.raises(UserError, match="more than 4 frames, got 4"):
        motion_histograms(sliding((1.0, 0.0), num_frames=4))


def test_appearance_distinguishes_color_blur_and_direction() -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(60, 190, (64, 96, 1)).repeat(3, 2).astype(np.uint8)
    stripes = np.broadcast_to(127 + 60 * np.sin(np.arange(96) / 2)[None, :, None], (64, 96, 3)).astype(np.uint8)
    plain, blurred, reddish = (frame_appearance_features(f).reshape(3, 30) for f in (
        noise, cv2.GaussianBlur(noise, (0, 0), 2), np.clip(noise + np.array([40, 0, 0]), 0, 255).astype(np.uint8),
    ))  # fmt: skip
    assert (blurred[:, 6] < plain[:, 6] - 1).all()
    np.testing.assert_allclose(reddish[:, 1] - plain[:, 1], 6 * 0.701 * 40 / 255, atol=0.02)
    upright, lying = (
        frame_appearance_features(f).reshape(3, 30)[:, 8:12] for f in (stripes, stripes[:, :64].transpose(1, 0, 2))
    )
    assert (upright.argmax(1) == 0).all() and (lying.argmax(1) == 2).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (16, 16), (300, 20)])
def test_appearance_of_odd_sizes_is_finite(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    for image in (frame, np.zeros_like(frame)):
        found = frame_appearance_features(image)
        assert found.shape == (90,) and np.isfinite(found).all()


def simulated(domain: str, indices: range) -> list[Clip]:
    """Clips of a domain, with a seed for which both halves have left and right turns."""
    source = SimulatedSource(
        simulation_config(domains=(domain,), num_scenes=100, num_frames=9, height=64, width=96, seed=2)
    )
    scenes = source.scenes()
    return [source.load(scenes[i]) for i in indices]


@pytest.fixture(scope="module")
def worlds() -> tuple[list[Clip], list[Clip], list[Clip]]:
    """Two halves of one domain, and as many clips of another domain."""
    return simulated("driving-day", range(8)), simulated("driving-day", range(8, 16)), simulated("orbit", range(8))


@pytest.mark.parametrize("extractor", [appearance_extractor(), motion_extractor()], ids=lambda e: e.name)
def test_halves_of_a_domain_are_closer_than_another_domain(
    extractor: Extractor, worlds: tuple[list[Clip], list[Clip], list[Clip]]
) -> None:
    half, other_half, elsewhere = (embed_clips(clips, extractor) for clips in worlds)
    near, far = (frechet_distance(half, other, measure="test") for other in (other_half, elsewhere))
    assert near.p_value is not None and far.p_value is not None
    assert near.null_median is not None and far.null_median is not None
    assert far.value / far.null_median > 1.2 * near.value / near.null_median
    assert far.value > near.value
    assert near.p_value > 0.02 >= far.p_value
    assert frechet_distance(half, half, measure="test").value == pytest.approx(0, abs=1e-9)


def test_a_reversed_clip_has_the_same_appearance_and_a_different_motion(
    worlds: tuple[list[Clip], list[Clip], list[Clip]],
) -> None:
    backwards = [Clip(scene=c.scene, frames=c.frames[:, ::-1]) for c in worlds[0]]
    assert frechet(
        *(embed_clips(c, appearance_extractor()).values[:, 0] for c in (worlds[0], backwards))
    ) == pytest.approx(0, abs=1e-6)
    forward, reverse = (embed_clips(c, motion_extractor()) for c in (worlds[0], backwards))
    assert frechet_distance(forward, reverse, measure="test").p_value == pytest.approx(0.01)
