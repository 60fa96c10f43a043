"""The timeline: errors of a clip are found at their frames."""

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.validation.camera.pose_refinement import GAP
from driveforge.validation.measures import measure_clip
from driveforge.validation.review.intervals import Interval, find_intervals
from driveforge.validation.review.timeline import Timeline, build_timeline, object_trails_at, trails_at
from tests.validation.street import brightened, commanded_yaw, reordered, street


def times_of(clip: Clip) -> Timeline:
    measured = measure_clip(clip)
    return build_timeline(measured.view, measured.boxes, measured.tracks)


def found(timeline: Timeline) -> dict[str, Interval]:
    return {interval.description: interval for interval in find_intervals(timeline)}


@pytest.fixture(scope="module")
def good_times(clip: Clip) -> Timeline:
    return times_of(clip)


def test_a_good_clip_has_no_outliers(good_times: Timeline) -> None:
    assert find_intervals(good_times) == []
    assert np.nanmax(good_times.residual[:, 1]) < 0.6
    assert (np.diff(good_times.residual[1:], axis=1) >= 0).all()
    np.testing.assert_allclose(good_times.speed[1:], 8.0, rtol=1e-6)
    np.testing.assert_allclose(good_times.yaw_observed[1:], 0.0, atol=0.6)
    assert np.nanmax(good_times.unsupported["car"]) < 0.4


def test_the_first_frame_has_no_values(good_times: Timeline, clip: Clip) -> None:
    assert np.isnan([good_times.residual[0, 1], good_times.change[0], good_times.lost[0], good_times.speed[0]]).all()
    measured = measure_clip(clip)
    assert trails_at(measured.tracks, measured.view.command, 0).points.shape[1] == 0


def test_trails_cover_the_frames_of_their_residual(clip: Clip) -> None:
    measured = measure_clip(clip)
    for frame in range(1, 17):
        trails = trails_at(measured.tracks, measured.view.command, frame)
        length, count, _ = trails.points.shape
        assert (length, len(trails.residual)) == (min(frame, GAP) + 1, count)
        assert count > 30
    on_car = object_trails_at(measured.view, measured.tracks, 8)
    assert len(on_car.residual) > 5
    assert np.median(on_car.residual) < 1.0


def test_frozen_frames_are_found_without_their_effects(clip: Clip) -> None:
    timeline = times_of(reordered(clip, [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 11, 12, 13, 14, 15, 16]))
    (interval,) = find_intervals(timeline)
    assert (interval.first, interval.last) == (8, 10)
    assert timeline.change[8:11].max() < 0.01


def test_a_static_image_of_a_stationary_ego_is_not_frozen() -> None:
    stationary_pairs = street(speed=0.0, num_frames=9)
    assert find_intervals(times_of(reordered(stationary_pairs, [0, 1, 2, 3, 3, 3, 3, 7, 8]))) == []


def test_a_cut_is_found_in_its_frame(clip: Clip) -> None:
    elsewhere = street(seed=1).frames
    frames = np.concatenate([clip.frames[:, :9], elsewhere[:, 9:]], 1)
    timeline = times_of(Clip(scene=clip.scene, frames=frames))
    assert [(s.first, s.last) for s in find_intervals(timeline) if s.first < 14] == [(9, 9)]
    assert (int(np.nanargmax(timeline.change)), int(np.nanargmax(timeline.lost))) == (9, 9)


def test_a_wrong_turn_is_described_with_both_rates(clip: Clip) -> None:
    timeline = times_of(commanded_yaw(clip, 5.0))
    np.testing.assert_allclose(timeline.yaw_commanded[1:], 5.0, atol=0.01)
    np.testing.assert_allclose(timeline.yaw_observed[GAP:], 0.0, atol=0.6)
    (description,) = [description for description in found(timeline) if "turn" in description]
    assert description.endswith("the command 5.0 deg/s left")
    assert timeline.residual[GAP:, 1].min() > 1.0


def test_a_wrong_direction_is_described_in_degrees(clip: Clip) -> None:
    sliding = np.array(clip.scene.ego_to_world)
    sliding[:, 1, 3] += 0.12 * np.arange(17)  # m to the left per frame, with 0.8 m ahead: 8.5 deg
    timeline = times_of(clip.with_scene(ego_to_world=sliding, tracks=()))
    assert np.nanmedian(timeline.heading_error) == pytest.approx(8.5, abs=1.5)
    assert any("off the commanded direction" in description for description in found(timeline))


def test_swapped_frames_make_the_turn_jitter_and_not_the_command_wrong() -> None:
    turning = street(yaw_rate=12.0)
    timeline = times_of(reordered(turning, [0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13, 14, 15, 16]))
    assert "the turn rate jitters around the command" in found(timeline)


def test_a_vanished_object_is_named_by_its_id() -> None:
    gone = found(times_of(street(draw_car=lambda t: t < 10)))["nothing moves with the box"]
    assert gone.track == "car"
    assert 8 <= gone.first <= 12
    assert gone.last >= 16 - GAP


def test_changes_are_found_without_a_pose(clip: Clip) -> None:
    bare = reordered(
        clip.with_scene(ego_to_world=None, tracks=()), [0, 1, 2, 3, 4, 4, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    )
    timeline = times_of(bare)
    assert np.isnan(timeline.residual).all() and np.isnan(timeline.yaw_commanded).all()
    assert [(s.first, s.last) for s in find_intervals(timeline)] == [(5, 6)]


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_the_shortest_clips_have_a_timeline(num_frames: int) -> None:
    timeline = times_of(street(num_frames=num_frames))
    assert timeline.num_frames == num_frames
    assert timeline.residual.shape == (num_frames, 3)
    assert find_intervals(timeline) == []


def test_a_change_of_light_is_not_a_cut(clip: Clip) -> None:
    assert "the image jumps" not in found(times_of(brightened(clip, np.linspace(1.0, 0.7, 17))))
