"""Regions cover the image once; their earlier views are from earlier frames."""

import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.pipelines.studies.artifacts.regions import region_crops
from driveforge.validation.learned.crops import CHANNELS, CROP_PX, GAP
from driveforge.validation.views.view import reference_view
from tests.validation.street import street


def test_regions_cover_the_whole_image_in_two_later_frames() -> None:
    view = reference_view(street())
    crops = region_crops(view)
    covered = np.zeros(view.gray.shape, int)
    for crop in crops:
        x0, y0, x1, y1 = crop.window
        covered[crop.frame, y0:y1, x0:x1] += 1
        assert crop.image.shape == (CHANNELS, CROP_PX, CROP_PX) and crop.track is None
    assert (covered[[11, 16]] == 1).all() and covered.sum() == covered[[11, 16]].sum()
    assert len(crops) == 2 * 4 * 7


def test_the_earlier_views_of_a_region_are_from_earlier_frames() -> None:
    clip = street()
    frames = np.zeros_like(clip.frames)
    frames[0] += np.arange(frames.shape[1], dtype=np.uint8)[:, None, None, None]
    for crop in region_crops(reference_view(Clip(scene=clip.scene, frames=frames))):
        assert [int(crop.image[channel].max()) for channel in (0, 3, 6)] == [crop.frame, crop.frame - GAP, 0]
