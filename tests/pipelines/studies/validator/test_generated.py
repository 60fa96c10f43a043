"""The labeled clips of generators, and their section in the study."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from driveforge.datasets.webdataset_shards.format import clip_from_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.generated import (
    FOLDER,
    LabeledClip,
    MeasuredLabeledClip,
    interval,
    read_labels,
    section,
)
from driveforge.validation.cross_conformal import calibrate
from tests.pipelines.measure_sets import some_measures


def test_every_clip_is_complete_and_labeled_once() -> None:
    clips = dict(clip_from_members(members, key) for key, members in read_samples(FOLDER / "clips.tar"))
    assert {clip.frames.shape for clip in clips} == {(1, 17, 96, 160, 3)}
    with (FOLDER / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["clip"] for row in rows] == [clip.scene.clip_id for clip in clips]
    for row in rows:
        assert row["label"] == ("usable" if int(row["severity"]) < 2 else "broken") and 0 <= int(row["severity"]) <= 3
        assert row["what"]


def test_several_groups_have_broken_and_usable_clips() -> None:
    labels = read_labels()
    for broken in (True, False):
        some = [label for label in labels if label.broken == broken]
        assert len(some) >= 12 and len({label.group for label in some}) > 1


def _seen(number: int, *, broken: bool, scale: float) -> MeasuredLabeledClip:
    label = LabeledClip(
        clip_id=f"clip-{number}",
        group="over-guided" if broken else "good settings",
        broken=broken,
        severity=3 if broken else 0,
        what="melts" if broken else "clean",
    )
    (measures,) = some_measures(1, scale=scale, seed=1000 + number)
    return MeasuredLabeledClip(
        label=label, measures=replace(measures, clip_id=label.clip_id), baselines=dict.fromkeys(BASELINES)
    )


def test_the_section_has_every_method_and_every_mistake() -> None:
    calibration = calibrate(some_measures(240), name="test", false_reject_rate=0.01)
    usable = [_seen(n, broken=False, scale=0.9) for n in range(6)]
    seen = [*usable, *(_seen(n, broken=True, scale=9.0) for n in range(6, 9)), _seen(9, broken=True, scale=0.9)]
    page = section(seen, calibration)
    assert "| over-guided | 3 of 4 |  |" in page and "| good settings |  | 0 of 6 |" in page
    assert "| all | 3 of 4 | 0 of 6 |" in page
    assert "| flicker | 0.500 |" in page, "a baseline without any values is no better than chance"
    assert "| track_epipolar | 3 |" in page
    (mistake,) = [line for line in page.splitlines() if line.startswith("| clip-")]
    assert mistake == "| clip-9 | over-guided | broken (3): melts | accepted |"


def test_the_interval_narrows_with_more_clips() -> None:
    def width(count: int) -> float:
        good = norm.ppf((np.arange(count) + 0.5) / count)
        scores = [*good, *(good + 1)]
        low, high = interval(scores, [False] * count + [True] * count)
        assert 0.5 < low < 0.76 < high < 1, "0.76 is the AUROC of normals one deviation apart"
        return high - low

    assert width(400) < 0.5 * width(40)
    assert interval([1, 2, 3, 4], [False, False, True, True]) == pytest.approx((1, 1))
