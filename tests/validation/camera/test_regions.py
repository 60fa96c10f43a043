"""Medians by region: a bad corner is visible, a few bad points are not."""

import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.validation.camera.regions import region_medians, worst_agreed
from driveforge.validation.corruptions.catalog import corrupt
from driveforge.validation.measures import measure
from tests.validation.street import street

SIZE = (300, 200)


def points(count: int = 300) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (count, 2)) * SIZE


def test_a_bad_corner_shows_only_in_its_region() -> None:
    where = points()
    values = np.where((where[:, 0] < 100) & (where[:, 1] < 100), 5.0, 1.0)
    medians = region_medians(where, values, SIZE)
    assert medians == {0: 5.0, **dict.fromkeys(range(1, 6), 1.0)}
    assert np.median(values) == 1.0


def test_regions_with_few_points_have_no_median() -> None:
    where = points()
    assert region_medians(where[:8], np.ones(8), SIZE) == {}
    in_one = where[(where[:, 0] < 100) & (where[:, 1] < 100)]
    assert region_medians(in_one, np.ones(len(in_one)), SIZE) == {0: 1.0}
    outside = np.concatenate([where, [[-5.0, 900.0]]])
    assert len(region_medians(outside, np.ones(len(outside)), SIZE)) == 6


def test_a_region_counts_as_far_as_two_measures_agree_on_it() -> None:
    assert worst_agreed({0: 9.0, 1: 1.0, 2: 3.0}, {0: 0.5, 1: 8.0, 2: 2.0}) == 2.0
    assert worst_agreed({0: 9.0, 1: 1.0}, {0: 9.0, 2: 9.0}) is None, "the worst region is defined only for two or more"


def test_a_warp_of_one_part_shows_in_the_worst_region() -> None:
    clip: Clip = street(height=128, width=224)
    good, warped = (
        measure(c)["track_reprojection_region"].value for c in (clip, corrupt(clip, "local-warp", 2.5, seed=0))
    )
    assert good is not None and warped is not None
    assert warped > 2 * good
