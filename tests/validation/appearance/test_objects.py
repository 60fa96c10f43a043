"""Objects that melt, change or swim differ from their own best views; good ones do not, near or far."""

from dataclasses import replace

import pytest

from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.measures import Measures, measure
from driveforge.validation.records import NO_BOXES
from tests.validation.faces.test_faces import cut_through_car
from tests.validation.measure_values import value_of
from tests.validation.street import street


@pytest.fixture(scope="module")
def clip() -> Clip:
    return street(height=128, width=224)


@pytest.fixture(scope="module")
def good(clip: Clip) -> Measures:
    return measure(clip)


def test_a_good_car_looks_like_itself(good: Measures) -> None:
    assert value_of(good, "object_texture") < 0.5 and value_of(good, "object_detail_loss") < 0.2
    assert value_of(good, "object_swim") < 0.5


@pytest.mark.parametrize(
    "corruption_type, name, factor",
    [
        ("melt", "object_detail_loss", 2.0),
        ("mosaic", "object_detail_loss", 1.5),
        ("repaint", "object_texture", 2.0),
        ("identity-swap", "object_texture", 2.0),
        ("vanish", "object_swim", 2.0),
    ],
)
def test_a_spoiled_car_is_named(clip: Clip, good: Measures, corruption_type: str, name: str, factor: float) -> None:
    spoiled = measure(corrupt(clip, corruption_type, CORRUPTIONS[corruption_type].strong, seed=0))
    assert value_of(spoiled, name) > factor * value_of(good, name)
    assert spoiled[name].track == "car"


def test_a_car_cut_by_the_edge_is_compared_by_its_visible_part(clip: Clip) -> None:
    edge = cut_through_car(clip, 0.4)
    seen, repainted = measure(edge), measure(corrupt(edge, "repaint-at-edge", 100.0, seed=0))
    assert seen["object_texture"].visibility is not None and seen["object_texture"].visibility < 0.75
    assert value_of(repainted, "object_texture") > 2 * value_of(seen, "object_texture")


def test_people_have_their_own_measures(clip: Clip) -> None:
    person = replace(clip.scene.tracks[0], category="human.pedestrian.adult")
    found = measure(clip.with_scene(tracks=(person,)))
    assert found["object_texture"].value is None and found["person_texture"].value is not None


def test_without_boxes_it_does_not_apply(clip: Clip) -> None:
    found = measure(clip.with_scene(tracks=()))["object_texture"]
    assert found.reason == NO_BOXES and not found.is_applicable
