"""The score of a clip: criteria share the false rejects, and scores add up within a criterion."""

import math
from dataclasses import replace

import numpy as np
import pytest

from driveforge.validation.catalog import DEFINITIONS, criterion_of
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.measure_definition import CRITERIA
from driveforge.validation.nonconformity import (
    TEMPERATURE,
    combine_by_criterion,
    compute_clip_score,
    fit_criterion_tails,
)
from driveforge.validation.records import Measures, make_measure
from driveforge.validation.verdict import judge

COMMAND = [name for name in DEFINITIONS if criterion_of(name) == "command"][:20]


def good(seed: int, count: int, measures: list[str]) -> list[Measures]:
    rng = np.random.default_rng(seed)
    return [
        Measures(
            clip_id=f"{seed}-{n}",
            values=(
                *(make_measure(name, min(0.3 * rng.lognormal(0, 0.5), 1.0)) for name in measures),
                make_measure("object_blockiness", rng.lognormal(0, 0.2)),
                make_measure("object_artifacts", rng.lognormal(0, 0.2)),
            ),
        )
        for n in range(count)
    ]


def test_every_family_belongs_to_one_criterion() -> None:
    assert {criterion_of(name) for name in DEFINITIONS} == set(CRITERIA)
    assert criterion_of("CAM_BACK/object_blockiness") == "appearance"


def test_many_measures_of_the_command_do_not_raise_the_limit_of_appearance() -> None:
    limits = [
        calibrate(clip_measures, name="some").limits(clip_measures[0])["object_blockiness"]
        for clip_measures in (good(0, 300, COMMAND[:2]), good(0, 300, COMMAND))
    ]
    assert limits[1] == pytest.approx(limits[0], rel=0.1)


def test_each_criterion_has_its_share_of_the_false_rejects() -> None:
    calibration = calibrate(good(0, 400, COMMAND), name="some", false_reject_rate=0.1)
    fresh = good(1, 1000, COMMAND)

    def share_rejected(first: int, last: int) -> float:
        verdicts = [judge(replace(clip, values=clip.values[first:last]), calibration) for clip in fresh]
        return float(np.mean([verdict.state == "rejected" for verdict in verdicts]))

    command, appearance, learned, all_of_them = (
        share_rejected(*part) for part in ((0, -2), (-2, -1), (-1, 22), (0, 22))
    )
    assert min(command, appearance, learned) > 0.003 and max(command, appearance, learned) < 0.07
    assert max(command, appearance, learned) < all_of_them < 0.16


def test_scores_add_up_within_a_criterion_and_across_all() -> None:
    none = dict.fromkeys(CRITERIA, -math.inf)
    odd = combine_by_criterion({"pose_yaw": 2.0, "time_cut": 2.0})
    assert odd == none | {"command": pytest.approx(2.0 + TEMPERATURE * math.log(2))}
    tails = fit_criterion_tails([none | {"command": x, "appearance": 2 * x} for x in np.linspace(0, 5, 60)])
    tail = tails[0]
    expected = TEMPERATURE * np.logaddexp(tail.score(4.0) / TEMPERATURE, tail.score(4.0) / TEMPERATURE)
    assert compute_clip_score(none | {"command": 4.0, "appearance": 8.0}, tails) == pytest.approx(expected)


def test_a_criterion_without_measures_counts_as_usual() -> None:
    none = dict.fromkeys(CRITERIA, -math.inf)
    tails = fit_criterion_tails([none | {"command": x, "appearance": 2 * x} for x in np.linspace(0, 5, 60)])
    with_usual = none | {"command": 4.0, "appearance": tails[1].usual}
    assert compute_clip_score(none | {"command": 4.0}, tails) == pytest.approx(compute_clip_score(with_usual, tails))
    assert compute_clip_score(none, tails) == -math.inf


def test_without_vehicles_only_the_command_is_tested() -> None:
    clip_measures = [replace(m, values=m.values[:-2]) for m in good(0, 60, COMMAND)]
    calibration = calibrate(clip_measures, name="empty streets")
    assert [tail.criterion for tail in calibration.tails] == ["command"]
    assert math.isfinite(calibration.threshold(clip_measures[0]).score)
