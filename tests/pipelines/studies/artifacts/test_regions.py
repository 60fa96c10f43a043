"""Regions cover the image; their earlier views are from earlier frames."""

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.pipelines.studies.artifacts.regions import region_crops, region_windows
from driveforge.validation.learned.crops import CHANNELS, CROP_PX, GAP
from driveforge.validation.views.view import reference_view
from tests.validation.street import street


@pytest.mark.parametrize("size", [(96, 160), (256, 448), (128, 224)])
def test_regions_cover_the_whole_image(size: tuple[int, int]) -> None:
    covered = np.zeros(size, int)
    for x0, y0, x1, y1 in region_windows(*size):
        assert x1 - x0 == y1 - y0
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1 and covered.max() <= 6


def test_regions_are_of_two_later_frames() -> None:
    view = reference_view(street())
    crops = region_crops(view)
    assert len(crops) == 2 * len(region_windows(*view.gray.shape[1:])) and {crop.frame for crop in crops} == {10, 16}
    assert all(crop.image.shape == (CHANNELS, CROP_PX, CROP_PX) and crop.track is None for crop in crops)


def test_the_earlier_views_of_a_region_are_from_earlier_frames() -> None:
    clip = street()
    frames = np.zeros_like(clip.frames)
    frames[0] += np.arange(frames.shape[1], dtype=np.uint8)[:, None, None, None]
    for crop in region_crops(reference_view(Clip(scene=clip.scene, frames=frames))):
        assert [int(crop.image[channel].max()) for channel in (0, 3, 6)] == [crop.frame, crop.frame - GAP, 0]
