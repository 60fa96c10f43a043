"""Twins of crops: a spoilt one differs visibly in the rated frame, a worn one in all views alike."""

import numpy as np
import pytest

from driveforge.pipelines.studies.artifacts.examples import VISIBLE
from driveforge.pipelines.studies.artifacts.spoils import SPOILS
from driveforge.pipelines.studies.artifacts.twins import spoil_crop, wear_crop
from driveforge.validation.learned.crops import CROP_PX, object_crops
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.street import street


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    view = reference_view(street())
    boxes = project_boxes(view)
    assert boxes is not None
    return object_crops(view, boxes, [0])[0].image


def test_a_spoilt_twin_differs_visibly_and_keeps_the_early_view_and_the_masks(image: np.ndarray) -> None:
    found = [spoil_crop(image, tuple(SPOILS), np.random.default_rng(seed)) for seed in range(20)]
    twins = [twin for twin in found if twin is not None]
    assert len(twins) > 10
    for twin in twins:
        change = twin[:3].astype(float) - image[:3]
        assert np.sqrt((change**2).mean()) > 0.9 * VISIBLE[0] and np.array_equal(twin[6:], image[6:])


def test_nothing_visible_can_be_spoilt_in_a_flat_crop() -> None:
    flat = np.full((11, CROP_PX, CROP_PX), 128, np.uint8)
    assert spoil_crop(flat, ("smear", "melt", "flatten"), np.random.default_rng(0)) is None


def test_wear_is_the_same_in_all_views(image: np.ndarray) -> None:
    same = np.concatenate([image[:3], image[:3], image[:3], image[9:]])
    for seed in range(10):
        views = wear_crop(same, np.random.default_rng(seed))[:9].reshape(3, 3, CROP_PX, CROP_PX).astype(float)
        # Only the noise differs.
        assert np.abs(views.mean((1, 2, 3)) - views.mean()).max() < 1
