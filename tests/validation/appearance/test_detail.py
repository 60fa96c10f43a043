"""Detail that is lost or appears along the motion is measured; driving on is not a loss of detail."""

import cv2
import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.catalog import corrupt
from driveforge.validation.measures import Measures, measure
from tests.validation.corruption_clips import bare
from tests.validation.measure_values import value_of
from tests.validation.street import street


@pytest.fixture(scope="module")
def clip() -> Clip:
    return street(num_frames=17)


@pytest.fixture(scope="module")
def good(clip: Clip) -> Measures:
    return measure(clip)


@pytest.mark.parametrize("name", ["detail_loss", "detail_gain"])
def test_driving_on_neither_loses_nor_gains_detail(good: Measures, name: str) -> None:
    assert value_of(good, name) < 0.14


@pytest.mark.parametrize("strength", [1.5, 3.0])
def test_growing_blur_is_a_loss(clip: Clip, good: Measures, strength: float) -> None:
    spoiled = measure(corrupt(clip, "detail-decay", strength, seed=0))
    assert value_of(spoiled, "detail_loss") > value_of(good, "detail_loss") + 0.14
    assert spoiled["detail_loss"].frames[1] > 12, "most is lost at the end"


def test_blur_from_the_first_frame_on_is_not_a_loss(clip: Clip) -> None:
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in clip.frames[0]])[None]
    assert value_of(measure(Clip(scene=clip.scene, frames=blurred)), "detail_loss") < 0.14


def test_a_road_that_turns_into_flat_blocks_loses_detail_in_its_region(clip: Clip, good: Measures) -> None:
    spoiled = measure(corrupt(clip, "road-blocks", 100.0, seed=0))
    assert value_of(spoiled, "detail_loss_region") > value_of(good, "detail_loss_region") + 0.26


def test_growing_noise_is_a_gain(clip: Clip, good: Measures) -> None:
    rng = np.random.default_rng(0)
    grain = np.linspace(0, 8, clip.frames.shape[1])[:, None, None, None]
    noisy = clip.frames[0] + rng.normal(size=clip.frames[0].shape) * grain
    spoiled = measure(Clip(scene=clip.scene, frames=noisy.clip(0, 255).astype(np.uint8)[None]))
    assert value_of(spoiled, "detail_gain") > value_of(good, "detail_gain") + 0.14


def test_a_uniform_clip_has_no_loss(clip: Clip) -> None:
    flat = measure(Clip(scene=clip.scene, frames=np.full_like(clip.frames, 90)))
    assert value_of(flat, "detail_loss") == 0.0 and value_of(flat, "detail_gain") == 0.0


@pytest.mark.parametrize("size", [(20, 160), (16, 300), (300, 16), (12, 12), (40, 900)])
def test_images_of_any_shape_are_measured(size: tuple[int, int]) -> None:
    """Dense inverse search reads beyond images that are much wider than high, or higher than wide."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (8, *size, 3), dtype=np.uint8)
    assert measure(bare(frames))["detail_loss"].value is not None
