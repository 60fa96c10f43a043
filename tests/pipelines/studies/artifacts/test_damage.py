"""Damage is 0 for the same structure, also if it is moved or worn by a little, and grows as structure is lost."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from driveforge.pipelines.studies.artifacts.damage import compare, damage
from driveforge.pipelines.studies.artifacts.regions import region_crops
from driveforge.validation.views.view import reference_view
from tests.validation.street import street

Change = Callable[[np.ndarray], np.ndarray]


def damage_by(change: Change, height: int = 96) -> np.ndarray:
    """The damage of the regions of a frame that is changed."""
    view = reference_view(street(height=height, width=160 * height // 96))
    crops = [crop for crop in region_crops(view) if crop.frame == view.num_frames - 1]
    frame = np.asarray(view.frames[-1], np.float32)
    maps = compare(np.asarray(change(frame), np.float32), frame)
    return np.array([damage(maps, crop) for crop in crops])


def noise(frame: np.ndarray) -> np.ndarray:
    return frame + np.random.default_rng(0).normal(0, 2, frame.shape)


HARMLESS: dict[str, Change] = {
    "nothing": lambda frame: frame,
    "one pixel to the right": lambda frame: np.roll(frame, 1, 1),
    "noise": noise,
    "exposure": lambda frame: 1.05 * frame,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_leaves_the_structure_is_no_damage(name: str) -> None:
    assert np.quantile(damage_by(HARMLESS[name]), 0.8) < 0.1


def test_damage_grows_with_blur() -> None:
    means = [damage_by(lambda frame, s=sigma: cv2.GaussianBlur(frame, (0, 0), s)).mean() for sigma in (0.5, 2.0, 6.0)]
    assert means == sorted(means) and means[0] < 0.15 < means[2]


def test_another_color_is_damage() -> None:
    assert damage_by(lambda frame: (frame + np.array([80, 0, 0])).clip(0, 255)).mean() > 0.5


def test_the_same_failure_is_as_bad_at_twice_the_resolution() -> None:
    small, large = (
        damage_by(lambda frame, s=height / 32: cv2.GaussianBlur(frame, (0, 0), s), height) for height in (96, 192)
    )
    assert np.abs(small - large).mean() < 0.15
