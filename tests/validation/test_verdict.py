"""Verdicts: which clips are rejected or unmeasured, and their reasons."""

from dataclasses import replace

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures, make_unmeasurable
from driveforge.validation.verdict import judge
from tests.validation.limits import limits_at
from tests.validation.street import commanded_box, commanded_yaw, reordered


def limits_around(good: Measures) -> Calibration:
    """Limits of twice the values of a good clip, plus a small margin."""
    return limits_at("one good clip", {m.name: 2 * m.value + 0.05 for m in good.values if m.value is not None})


@pytest.fixture(scope="module")
def calibration(good: Measures) -> Calibration:
    return limits_around(good)


def without(measures: Measures, family: str, reason: str) -> Measures:
    values = tuple(make_unmeasurable(m.name, reason) if m.family == family else m for m in measures.values)
    return replace(measures, values=values)


def test_a_good_clip_is_accepted_under_the_name_of_the_calibration(good: Measures, calibration: Calibration) -> None:
    verdict = judge(good, calibration)
    assert (verdict.state, verdict.reasons, verdict.calibration) == ("accepted", (), "one good clip")


def test_rejections_name_measure_frames_value_and_limit(clip: Clip, calibration: Calibration) -> None:
    verdict = judge(measure(commanded_yaw(clip, 3.0)), calibration)
    assert verdict.state == "rejected"
    yaw = next(reason for reason in verdict.reasons if reason.code == "POSE_YAW")
    assert yaw.value is not None and yaw.limit is not None and yaw.value > yaw.limit
    assert yaw.text.startswith(f"frames {yaw.frames[0]} to {yaw.frames[1]}: the camera yaws at a different rate")
    assert f"pose_yaw {yaw.value:.3g} deg/s, limit {yaw.limit:.3g} deg/s" in yaw.text


def test_rejections_name_the_object(clip: Clip, calibration: Calibration) -> None:
    verdict = judge(measure(commanded_box(clip, -0.1 * clip.scene.timestamps * 10)), calibration)
    drift = next(reason for reason in verdict.reasons if reason.code == "OBJECT_DRIFT")
    assert drift.track == "car" and "object car" in drift.text


def test_a_frozen_clip_under_a_moving_command_is_rejected(clip: Clip, calibration: Calibration) -> None:
    verdict = judge(measure(reordered(clip, [0] * 17)), calibration)
    assert verdict.state == "rejected"
    assert "TIME_FROZEN" in {reason.code for reason in verdict.reasons}


@pytest.mark.parametrize(
    ("family", "reason", "state"),
    [
        ("pose", "too few tracks (3)", "unmeasured"),
        ("tracks", "degenerate geometry", "unmeasured"),
        ("time", "too few frames", "unmeasured"),
        ("pose", "no pose", "accepted"),
        ("tracks", "stationary ego", "accepted"),
        ("objects", "no boxes in view", "accepted"),
        ("objects", "too few tracks on objects", "unmeasured"),
        ("cameras", "one camera", "accepted"),
        ("cameras", "cameras do not overlap", "accepted"),
        ("cameras", "no texture where cameras overlap", "unmeasured"),
    ],
)
def test_applicable_families_without_values_are_not_accepted(
    family: str, reason: str, state: str, good: Measures, calibration: Calibration
) -> None:
    verdict = judge(without(good, family, reason), calibration)
    assert verdict.state == state
    assert [reason.code for reason in verdict.reasons] == (["UNMEASURED"] if state == "unmeasured" else [])


def test_a_family_without_any_limit_is_not_accepted(good: Measures, calibration: Calibration) -> None:
    poseless = replace(
        calibration,
        tail_models=tuple(x for x in calibration.tail_models if DEFINITIONS[x.measure].family != "pose"),
    )
    verdict = judge(good, poseless)
    assert verdict.state == "unmeasured"
    assert "no limit" in verdict.reasons[0].text


def test_limits_for_another_tracker_are_refused(good: Measures) -> None:
    with pytest.raises(UserError, match=r"limits for clips tracked by lucas_kanade, but .* by cotracker"):
        judge(replace(good, tracker="cotracker"), limits_at("by lucas_kanade", {}))
