"""Long clips: measured as windows of the length that limits are made from, the worst one counts."""

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames, select_frames
from driveforge.validation.long_clips import LONGEST, WINDOW, windows_of
from driveforge.validation.measures import inspect, measure
from tests.validation.street import commanded_box, reordered, street

LENGTH = 60


@pytest.mark.parametrize("length", [1, 24, LONGEST, LONGEST + 1, 97, 240, 10_000])
def test_windows_cover_every_frame_and_are_of_one_length(length: int) -> None:
    windows = windows_of(length)
    assert np.unique(np.concatenate(windows)).tolist() == list(range(length))
    assert {len(frames) for frames in windows} == {length if length <= LONGEST else WINDOW}


@pytest.fixture(scope="module")
def long() -> Clip:
    return street(num_frames=LENGTH, height=64, width=112, speed=4.0)


def test_what_happens_late_is_found_where_it_is(long: Clip) -> None:
    held = [*range(50), *[49] * (LENGTH - 50)]
    good, spoilt = measure(long), measure(reordered(long, held))
    assert spoilt["time_still"].value > 0.9 > 5 * good["time_still"].value
    assert min(spoilt["time_duplicate"].frames) >= 49
    assert spoilt.clip_id == long.scene.clip_id
    assert (
        spoilt["time_still"].value
        == measure(select_clip_frames(reordered(long, held), windows_of(LENGTH)[-1]))["time_still"].value
    )


def test_a_picture_is_of_the_whole_and_tells_the_same_numbers(long: Clip) -> None:
    inspected = inspect(long)
    assert inspected.view.num_frames == LENGTH
    assert inspected.measures == measure(long)


def test_an_excerpt_takes_all_that_belongs_to_its_frames(long: Clip) -> None:
    moved = commanded_box(long, np.arange(LENGTH) * 0.1).with_scene(held_frames=5)
    part = select_frames(moved.scene, np.arange(40, 58))
    assert part.held_frames == 3 and part.num_frames == 18
    assert np.array_equal(part.tracks[0].box_to_world, moved.scene.tracks[0].box_to_world[40:58])
    assert np.array_equal(part.ego_to_world, moved.scene.ego_to_world[40:58])
