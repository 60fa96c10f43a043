"""Measures as JSON, and the visibility that a measure takes over from its samples."""

import json

import pytest

from driveforge.datasets.errors import UserError
from driveforge.validation.records import Measures, Sample, make_measure, median_measure, worst_measure

SAMPLES = [
    Sample(value=1.0, track="near", visibility=0.9),
    Sample(value=3.0, track="cut off", visibility=0.4),
    Sample(value=2.0, track="somewhere"),
]


def test_the_worst_measure_has_the_visibility_of_its_object() -> None:
    worst = worst_measure("object_residual", SAMPLES, "too few tracks")
    assert (worst.track, worst.visibility) == ("cut off", 0.4)
    assert median_measure("object_residual", SAMPLES, "too few tracks").visibility == pytest.approx(0.65)
    assert median_measure("object_residual", SAMPLES[2:], "too few tracks").visibility is None


def test_a_visibility_is_stored_only_if_it_is_known() -> None:
    measures = Measures(
        clip_id="a",
        values=(make_measure("object_residual", 1.0, visibility=0.5), make_measure("pose_yaw", 1.0)),
    )
    record = json.loads(json.dumps(measures.to_json()))
    assert [value.get("visibility", "absent") for value in record["values"]] == [0.5, "absent"]
    assert Measures.from_json(record) == measures


def test_a_visibility_is_a_share() -> None:
    with pytest.raises(UserError, match=r"visibility must be from 0 to 1, got 1\.2"):
        make_measure("object_residual", 1.0, visibility=1.2)
