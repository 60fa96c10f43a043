"""What limits detect: corrupted clips by type, limits that say nothing, and limits that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import Calibration, DetectionPower
from driveforge.validation.corruptions.catalog import CORRUPTIONS
from driveforge.validation.detection_power import (
    count_caught,
    list_weaknesses,
    power_table_rows,
    require_detection,
)
from driveforge.validation.records import Measures, make_measure
from tests.validation.limits import limits_at


def clip(yaw_rate: float) -> Measures:
    return Measures(clip_id=f"yaw {yaw_rate}", values=(make_measure("pose_yaw", yaw_rate),))


def with_power(**caught_of_tried: tuple[int, int]) -> Calibration:
    rows = tuple(
        DetectionPower(
            corruption_type=(name := key.replace("_", "-")),
            strength=CORRUPTIONS[name].strong,
            caught=caught,
            tried=tried,
        )
        for key, (caught, tried) in caught_of_tried.items()
    )
    return replace(limits_at("by hand", {"pose_yaw": 1.0}), power=rows)


def test_corrupted_clips_are_counted_by_type() -> None:
    calibration = limits_at("by hand", {"pose_yaw": 1.0})
    corrupted = [("yaw-rate", clip(5.0)), ("yaw-rate", clip(0.5)), ("freeze", clip(0.5)), ("yaw-rate", clip(3.0))]
    power = count_caught(corrupted, calibration)
    assert [(row.corruption_type, row.strength, row.caught, row.tried) for row in power] == [
        ("yaw-rate", 5.0, 2, 3),
        ("freeze", 6, 0, 1),
    ]
    assert power_table_rows(replace(calibration, power=power)) == [
        ("pose", "yaw-rate", "5 deg/s", "2 of 3"),
        ("time", "freeze", "6 frames", "0 of 1"),
    ]


def test_limits_that_detect_no_error_of_a_group_are_refused() -> None:
    with pytest.raises(UserError, match=r"detect none of 12 clips with errors of pose \(yaw-rate, speed\).*force=true"):
        require_detection(with_power(yaw_rate=(0, 6), speed=(0, 6), freeze=(6, 6)))
    require_detection(with_power(yaw_rate=(0, 6), speed=(1, 6), freeze=(6, 6)))
    require_detection(with_power(yaw_rate=(0, 9), freeze=(6, 6)))  # too few to tell
    require_detection(with_power())


def test_weak_limits_are_named() -> None:
    assert list_weaknesses(with_power(yaw_rate=(2, 10), freeze=(6, 6))) == []
    (sentence,) = list_weaknesses(with_power(yaw_rate=(1, 10), freeze=(6, 6)))
    assert "rarely caught: yaw-rate (1 of 10)" in sentence
    (sentence,) = list_weaknesses(
        limits_at("by hand", {"pose_yaw": 90.0, "object_unsupported": 1.0, "time_still": 0.9})
    )
    assert sentence.startswith("no value exceeds the limit of object_unsupported;")


def test_the_power_is_stored_with_the_limits(tmp_path: Path) -> None:
    calibration = limits_at("by hand", {"pose_yaw": 1.0})
    calibration = replace(
        calibration, power=count_caught([("freeze", clip(5.0)), ("yaw-rate", clip(0.5))], calibration)
    )
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    with pytest.raises(UserError, match="caught of yaw-rate"):
        with_power(yaw_rate=(3, 2))
