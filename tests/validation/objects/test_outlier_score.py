"""Outliers of an object: a change at one moment is detected, and constant variation is not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.catalog import corrupt
from driveforge.validation.measures import Measures, measure
from driveforge.validation.objects.outlier_score import outlier_score
from driveforge.validation.records import NO_BOXES
from driveforge.validation.views.categories import is_person
from tests.validation.street import commanded_box, street

FRAMES = np.arange(17)
SHARES = st.lists(st.floats(0, 1), min_size=9, max_size=20)


def value(measures: Measures, name: str) -> float:
    found = measures[name].value
    assert found is not None, measures[name].reason
    return found


def test_an_outlier_is_compared_with_the_quieter_side() -> None:
    assert outlier_score([0.1] * 5 + [0.9] + [0.1] * 5, 5) == pytest.approx(0.8)
    lasting = [0.1] * 5 + [0.9] * 6
    assert outlier_score(lasting, 5) == pytest.approx(0.8), "a permanent change is an outlier at its start"
    assert outlier_score(lasting, 8) == 0.0, "and at no other time"
    assert outlier_score([0.9] * 11, 5) == 0.0
    assert outlier_score([0.1, 0.1, 0.9], 2) is None, "too little to compare with"


@given(SHARES)
def test_no_score_exceeds_the_range_of_the_series(values: list[float]) -> None:
    heights = [outlier_score(values, at, width) for width in (1, 2) for at in range(len(values) - width + 1)]
    assert all(height is None or height <= max(values) - min(values) for height in heights)
    shifted = [outlier_score([v + 1 for v in values], at) for at in range(len(values))]
    assert [h for h in shifted if h is not None] == pytest.approx(
        [h for at in range(len(values)) if (h := outlier_score(values, at)) is not None]
    )


@pytest.fixture(scope="module")
def large() -> Clip:
    return street(height=128, width=224)


@pytest.fixture(scope="module")
def usual(large: Clip) -> Measures:
    return measure(large)


def test_a_jumping_box_is_a_departure_in_that_step(large: Clip, usual: Measures) -> None:
    corrupted = measure(commanded_box(large, -2.0 * (FRAMES > 8)))
    assert value(corrupted, "object_departure") > 0.5 > 0.3 > value(usual, "object_departure")
    assert corrupted["object_departure"].frames == (8, 9)
    assert corrupted["object_departure"].track == "car"


@pytest.mark.parametrize("corruption_type", ["identity-swap", "vanish"])
def test_a_replaced_object_is_detected_by_points_and_appearance(
    corruption_type: str, large: Clip, usual: Measures
) -> None:
    corrupted = measure(corrupt(large, corruption_type, 33.0 if corruption_type == "vanish" else 100.0, seed=1))
    assert value(corrupted, "object_replaced") > max(0.3, 4 * value(usual, "object_replaced"))


def test_a_growing_object_is_detected(large: Clip, usual: Measures) -> None:
    grown = measure(corrupt(large, "object-growth", 40.0, seed=1))
    assert value(grown, "object_scale") > 3 * value(usual, "object_scale")


def test_people_have_separate_measures(large: Clip) -> None:
    car = large.scene.tracks[0]
    walker = replace(car, category="human.pedestrian.adult")
    corrupted = commanded_box(large, -2.0 * (FRAMES > 8))
    moved = replace(walker, box_to_world=corrupted.scene.tracks[0].box_to_world)
    found = measure(large.with_scene(tracks=(moved,)))
    assert found["object_departure"].reason == NO_BOXES
    assert value(found, "person_departure") == value(measure(corrupted), "object_departure")
    assert found["person_departure"].track == "car"


@pytest.mark.parametrize(
    ("category", "limber"),
    [
        ("human.pedestrian.adult", True),
        ("vehicle.bicycle", True),
        ("vehicle.motorcycle", True),
        ("pedestrian", True),
        ("animal", True),
        ("vehicle.car", False),
        ("vehicle.bus.rigid", False),
        ("movable_object.barrier", False),
    ],
)
def test_which_categories_are_people(category: str, limber: bool, large: Clip) -> None:
    assert is_person(replace(large.scene.tracks[0], category=category)) is limber
