"""Long clips: measured in windows of the length of calibrated clips; the worst window counts."""

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames, select_frames
from driveforge.validation.long_clips import MAX_WINDOW_FRAMES, WINDOW_FRAMES, split_windows
from driveforge.validation.measures import measure, measure_clip
from tests.validation.street import commanded_box, reordered, street

LENGTH = 60


@pytest.mark.parametrize("length", [1, 24, MAX_WINDOW_FRAMES, MAX_WINDOW_FRAMES + 1, 97, 240, 10_000])
def test_windows_cover_every_frame_and_are_of_one_length(length: int) -> None:
    windows = split_windows(length)
    assert np.unique(np.concatenate(windows)).tolist() == list(range(length))
    assert {len(frames) for frames in windows} == {length if length <= MAX_WINDOW_FRAMES else WINDOW_FRAMES}


@pytest.fixture(scope="module")
def long() -> Clip:
    return street(num_frames=LENGTH, height=64, width=112, speed=4.0)


def test_a_late_error_is_found_at_its_frames(long: Clip) -> None:
    held = [*range(50), *[49] * (LENGTH - 50)]
    good, corrupted = measure(long), measure(reordered(long, held))
    assert corrupted["time_still"].value > 0.9 > 5 * good["time_still"].value
    assert min(corrupted["time_duplicate"].frames) >= 49
    assert corrupted.clip_id == long.scene.clip_id
    assert (
        corrupted["time_still"].value
        == measure(select_clip_frames(reordered(long, held), split_windows(LENGTH)[-1]))["time_still"].value
    )


def test_a_measured_long_clip_has_the_whole_view_and_the_same_measures(long: Clip) -> None:
    measured_clip = measure_clip(long)
    assert measured_clip.view.num_frames == LENGTH
    assert measured_clip.measures == measure(long)


def test_selected_frames_keep_all_their_data(long: Clip) -> None:
    moved = commanded_box(long, np.arange(LENGTH) * 0.1).with_scene(held_frames=5)
    part = select_frames(moved.scene, np.arange(40, 58))
    assert part.held_frames == 3 and part.num_frames == 18
    assert np.array_equal(part.tracks[0].box_to_world, moved.scene.tracks[0].box_to_world[40:58])
    assert np.array_equal(part.ego_to_world, moved.scene.ego_to_world[40:58])
