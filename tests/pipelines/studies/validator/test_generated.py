"""The labeled clips of generators, and their section in the study."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.generated import (
    HALVES,
    LabeledClip,
    MeasuredLabeledClip,
    fit_limits,
    interval,
    read_labels,
    section,
)
from tests.pipelines.measure_sets import some_measures


@pytest.mark.parametrize("half", HALVES)
def test_several_groups_have_broken_clips_and_others(half: str) -> None:
    labels = read_labels(half)
    for broken in (True, False):
        some = [label for label in labels if label.broken == broken]
        assert len(some) >= 20 and len({label.group for label in some}) > 1
    assert 0.7 < sum(label.agreed for label in labels) / len(labels) < 1


def _seen(number: int, *, broken: bool, scale: float) -> MeasuredLabeledClip:
    label = LabeledClip(
        clip_id=f"clip-{number}",
        group="over-guided" if broken else "good settings",
        broken=broken,
        severity=3 if broken else 0,
        what="melts" if broken else "clean",
        agreed=number % 3 > 0,
    )
    (measures,) = some_measures(1, scale=scale, seed=1000 + number)
    return MeasuredLabeledClip(
        label=label, measures=replace(measures, clip_id=label.clip_id), baselines=dict.fromkeys(BASELINES)
    )


def test_the_section_has_every_method_and_counts_accepted_clips() -> None:
    usable = [_seen(n, broken=False, scale=0.9) for n in range(6)]
    seen = [*usable, *(_seen(n, broken=True, scale=9.0) for n in range(6, 9)), _seen(9, broken=True, scale=0.9)]
    page = section("design", seen, fit_limits(some_measures(240)))
    assert "10 clips, of which 4 are labeled broken; the raters agree on 6." in page
    assert "| over-guided | 3 of 4 |  |" in page and "| good settings |  | 0 of 6 |" in page
    assert "| all | 3 of 4 | 0 of 6 |" in page
    assert "| flicker | 0.500 |" in page, "a baseline without any values is no better than chance"
    assert "| track_epipolar | 3 |" in page
    assert page.count("| 7 | 1 | 3% to 51% | 0 of 6 |") == 2, "one row for each rate"


def test_the_interval_narrows_with_more_clips() -> None:
    def width(count: int) -> float:
        good = norm.ppf((np.arange(count) + 0.5) / count)
        scores = [*good, *(good + 1)]
        low, high = interval(scores, [False] * count + [True] * count)
        assert 0.5 < low < 0.76 < high < 1, "0.76 is the AUROC of normals one deviation apart"
        return high - low

    assert width(400) < 0.5 * width(40)
    assert interval([1, 2, 3, 4], [False, False, True, True]) == pytest.approx((1, 1))
