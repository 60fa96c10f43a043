"""Average precision of the downstream study against cases computed by hand."""

import numpy as np
import pytest

from driveforge.pipelines.studies.detector.images import PERSON, VEHICLE
from driveforge.pipelines.studies.downstream.average_precision import (
    DROPPED,
    FALSE,
    HIT,
    Detections,
    average_precision,
    detection_precision,
    lane_precision,
    match,
    resample,
)


def detections(rows: list[tuple[float, int, int, float, int]], objects: list[tuple[int, float, int]]) -> Detections:
    score, label, outcome, distance, clip = (np.array(column) for column in zip(*rows, strict=True))
    object_label, object_distance, object_clip = (np.array(column) for column in zip(*objects, strict=True))
    return Detections(
        score=score,
        label=label,
        outcome=outcome,
        distance=distance,
        clip=clip,
        object_label=object_label,
        object_distance=object_distance,
        object_clip=object_clip,
    )


def test_the_area_is_that_under_the_largest_precision_at_each_recall() -> None:
    # Hit, false, hit of three objects: recall 1/3 at precision 1, recall 2/3 at 2/3, recall 1 never.
    hits, false = np.array([[1.0, 0, 1]]), np.array([[0.0, 1, 0]])
    assert average_precision(hits, false, np.array([3.0])) == pytest.approx([1 / 3 + 1 / 3 * 2 / 3])
    # False, hit, hit of two objects: the precision of 2/3 at full recall is also that at half.
    assert average_precision(np.array([[0.0, 1, 1]]), np.array([[1.0, 0, 0]]), np.array([2.0])) == pytest.approx(
        [2 / 3]
    )
    assert np.isnan(average_precision(hits, false, np.array([0.0])))[0]
    assert average_precision(np.zeros((1, 0)), np.zeros((1, 0)), np.array([2.0])) == [0]


def test_the_best_detection_of_an_object_is_the_hit() -> None:
    objects = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    found = np.array(
        [
            [0.0, 0, 10, 9],  # on the first object
            [0, 0, 10, 10],  # on it again
            [20, 0, 30, 10],  # on a person, as a vehicle
            [40, 0, 50, 10],  # on a hidden vehicle
            [60, 0, 70, 10],  # on nothing
            [0, 5, 10, 15],  # overlaps the first by a third
        ]
    )
    labels = np.full(6, VEHICLE)
    counts = np.array([True, True, False])
    outcome, matched = match(found, labels, objects, np.array([VEHICLE, PERSON, VEHICLE]), counts)
    assert outcome.tolist() == [HIT, FALSE, FALSE, DROPPED, FALSE, FALSE]
    assert matched.tolist() == [0, -1, -1, 2, -1, -1]
    assert match(found, labels, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))[0].tolist() == [FALSE] * 6


def test_a_range_counts_its_own_objects_and_false_detections() -> None:
    found = detections(
        [
            (0.9, VEHICLE, FALSE, 40.0, 0),
            (0.8, VEHICLE, HIT, 10.0, 0),
            (0.7, VEHICLE, HIT, 20.0, 1),
            (0.6, VEHICLE, DROPPED, 12.0, 1),
            (0.5, VEHICLE, FALSE, 12.0, 1),
        ],
        [(VEHICLE, 10.0, 0), (VEHICLE, 20.0, 1), (VEHICLE, 14.0, 1), (PERSON, 10.0, 0)],
    )
    values = detection_precision(found, np.ones((1, 2)))
    assert values["vehicle, 0-15 m"] == pytest.approx([0.5])  # one of two; the false detection comes after it
    assert values["vehicle, 15-30 m"] == pytest.approx([1.0])
    assert np.isnan(values["vehicle, 30-60 m"])[0] and values["person"] == [0]
    assert values["vehicle"] == pytest.approx([2 / 3 * 2 / 3])


def test_weights_repeat_clips() -> None:
    found = detections(
        [(0.9, VEHICLE, HIT, 10.0, 0), (0.8, VEHICLE, FALSE, 10.0, 1), (0.7, VEHICLE, HIT, 10.0, 1)],
        [(VEHICLE, 10.0, 0), (VEHICLE, 10.0, 1), (VEHICLE, 10.0, 1)],
    )
    both, first_twice, second_twice = detection_precision(found, np.array([[1.0, 1], [2, 0], [0, 2]]))["vehicle"]
    assert both == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert first_twice == pytest.approx(1.0) and second_twice == pytest.approx(0.25)


def test_lane_cells_are_ranked_by_their_bin() -> None:
    on_line, off_line = np.array([[0, 1, 3]]), np.array([[5, 1, 0]])
    value = lane_precision(on_line, off_line, np.ones((1, 1)))
    assert value == pytest.approx([3 / 4 + 1 / 4 * 4 / 5])


def test_the_first_resample_is_all_clips_and_the_others_have_as_many() -> None:
    weights = resample(7, 20)
    assert (weights[0] == 1).all() and (weights.sum(1) == 7).all() and (weights[1:] != 1).any()
    assert np.array_equal(weights, resample(7, 20))
