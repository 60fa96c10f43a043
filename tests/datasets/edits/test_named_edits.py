from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.edits import EDITS, EditNotApplicable, edit_scene
from driveforge.datasets.geometry import inverse, yaw_from_pose
from driveforge.datasets.scene import Scene
from tests.pipelines.scenes import driving_scene


def scenes() -> st.SearchStrategy[Scene]:
    return st.builds(
        driving_scene,
        num_frames=st.integers(3, 21),
        speed=st.floats(12.0, 30.0),
        yaw_rate=st.floats(-0.4, 0.4),
    )


@settings(deadline=None)
@given(scene=scenes(), name=st.sampled_from(sorted(set(EDITS) - {"day"})))
def test_an_edit_keeps_timestamps_and_start_poses(scene: Scene, name: str) -> None:
    edited = edit_scene(scene, name)  # making a Scene checks that every pose is rigid
    assert edited.clip_id == f"{scene.clip_id}-{name}"
    np.testing.assert_array_equal(edited.timestamps, scene.timestamps)
    np.testing.assert_allclose(edited.ego_to_world[0], scene.ego_to_world[0], atol=1e-9)
    for before, after in zip(scene.tracks, edited.tracks, strict=True):
        np.testing.assert_allclose(after.box_to_world[0], before.box_to_world[0], atol=1e-9)


@given(scene=scenes(), name=st.sampled_from(sorted(EDITS)))
def test_an_edit_repeats_exactly(scene: Scene, name: str) -> None:
    if name == "day":
        scene = replace(scene, domain="driving-rain")
    first, second = edit_scene(scene, name), edit_scene(scene, name)
    np.testing.assert_array_equal(first.ego_to_world, second.ego_to_world)
    assert first.caption == second.caption


def recorded_scene() -> Scene:
    """A scene with image times, lidar points and annotated attributes."""
    scene = driving_scene(num_frames=9, speed=12.0)
    times = 10**15 + 100_000 * np.arange(9)
    cameras = tuple(replace(c, image_times_us=times, image_tokens=("token",) * 9) for c in scene.cameras)
    tracks = tuple(replace(t, lidar_points=np.full(9, 7), attributes=("vehicle.moving",) * 9) for t in scene.tracks)
    return replace(scene, cameras=cameras, tracks=tracks, recording_token="recording")


@pytest.mark.parametrize("name", sorted(set(EDITS) - {"day"}))
def test_an_edit_keeps_what_was_recorded_only_while_it_holds(name: str) -> None:
    """The lidar hits a box elsewhere if the ego vehicle or a box moves; a braking car may no longer be moving."""
    scene = recorded_scene()
    edited = edit_scene(scene, name)
    assert edited.recording_token == "recording"
    assert edited.cameras[0].image_tokens == scene.cameras[0].image_tokens
    np.testing.assert_array_equal(edited.cameras[0].image_times_us, scene.cameras[0].image_times_us)
    keeps_geometry = name in ("as-recorded", "dusk", "rain")
    assert [track.lidar_points is not None for track in edited.tracks] == [keeps_geometry] * len(scene.tracks)
    moved = [(a.box_to_world != b.box_to_world).any() for a, b in zip(scene.tracks, edited.tracks, strict=True)]
    assert [track.attributes is None for track in edited.tracks] == moved
    assert any(moved) == name.startswith("agent-")


@given(scene=scenes())
def test_slower_keeps_the_path_and_travels_less(scene: Scene) -> None:
    start = scene.ego_to_world[0]
    length = np.linalg.norm(np.diff(scene.ego_to_world[:, :3, 3], axis=0), axis=1).sum()
    edited = edit_scene(scene, "slower").ego_to_world
    steps = np.linalg.norm(np.diff(edited[:, :3, 3], axis=0), axis=1)
    assert np.all(np.diff(steps) < 1e-6), "the speed never increases"
    assert steps.sum() == pytest.approx(0.6 * length, rel=0.05)
    assert (inverse(start) @ edited[-1])[0, 3] < (inverse(start) @ scene.ego_to_world[-1])[0, 3]


@pytest.mark.parametrize(("name", "meters"), [("shift-left", 1.0), ("shift-right", -1.0)])
@given(speed=st.floats(12.0, 30.0))
def test_shift_grows_to_a_meter_with_tangent_headings(name: str, meters: float, speed: float) -> None:
    scene = driving_scene(num_frames=17, speed=speed)
    edited = edit_scene(scene, name).ego_to_world
    offset = (inverse(scene.ego_to_world) @ edited)[:, 1, 3]
    assert offset[-1] == pytest.approx(meters)
    assert np.all(np.diff(np.abs(offset)) > 0)
    motion = (inverse(edited[:-1]) @ edited[1:])[:, :2, 3]
    assert np.abs(np.arctan2(motion[:, 1], motion[:, 0])).max() < 0.02, "a vehicle cannot slide sideways"


@given(yaw_rate=st.floats(-0.4, 0.4))
def test_mirror_reverses_the_turn(yaw_rate: float) -> None:
    scene = driving_scene(yaw_rate=yaw_rate)
    turned = yaw_from_pose(inverse(scene.ego_to_world[0]) @ scene.ego_to_world[-1])
    mirrored = edit_scene(scene, "mirror-yaw").ego_to_world
    assert yaw_from_pose(inverse(mirrored[0]) @ mirrored[-1]) == pytest.approx(-turned, abs=1e-9)


def test_mirroring_twice_gives_the_recording_back() -> None:
    scene = replace(driving_scene(yaw_rate=0.3), caption="day, left bend")
    assert edit_scene(scene, "mirror-yaw").caption == "day, right bend"
    twice = edit_scene(edit_scene(scene, "mirror-yaw"), "mirror-yaw")
    np.testing.assert_allclose(twice.ego_to_world, scene.ego_to_world, atol=1e-9)
    assert twice.caption == scene.caption


@pytest.mark.parametrize("name", ["dusk", "rain"])
def test_weather_changes_domain_and_caption_and_drops_the_first_frame(name: str) -> None:
    scene = driving_scene()
    edited = edit_scene(scene, name)
    assert edited.domain == f"driving-{name}"
    assert edited.caption == f"{name}, a street"
    assert edit_scene(replace(scene, caption="day, a street"), name).caption == f"{name}, a street"
    assert not EDITS[name].keeps_first_frame
    np.testing.assert_array_equal(edited.ego_to_world, scene.ego_to_world)


@pytest.mark.parametrize("name", ["agent-brakes", "agent-shifts"])
def test_agent_edits_change_only_the_visible_moving_vehicle(name: str) -> None:
    scene = driving_scene()
    edited = edit_scene(scene, name)
    lead, parked = edited.tracks
    assert np.abs(lead.box_to_world[-1] - scene.tracks[0].box_to_world[-1]).max() > 0.5
    np.testing.assert_array_equal(parked.box_to_world, scene.tracks[1].box_to_world)
    np.testing.assert_array_equal(edited.ego_to_world, scene.ego_to_world)


def test_braking_ends_in_a_stop() -> None:
    path = edit_scene(driving_scene(num_frames=17), "agent-brakes").tracks[0].box_to_world[:, :3, 3]
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert steps[-1] < 0.1 * steps[0]


def test_an_agent_that_appears_later_keeps_its_first_box() -> None:
    scene = driving_scene()
    present = np.arange(scene.num_frames) >= 3
    scene = replace(scene, tracks=(replace(scene.tracks[0], present=present),))
    moved = edit_scene(scene, "agent-shifts").tracks[0]
    np.testing.assert_allclose(moved.box_to_world[3], scene.tracks[0].box_to_world[3], atol=1e-9)
    np.testing.assert_array_equal(moved.box_to_world[:3], scene.tracks[0].box_to_world[:3])


def test_extrinsics_with_ego_motion_are_fixed_to_the_first_frame() -> None:
    scene = driving_scene()
    mount = np.tile(scene.cameras[0].camera_to_ego, (scene.num_frames, 1, 1))
    mount[:, 0, 3] += 0.04 * np.arange(scene.num_frames)
    scene = replace(scene, cameras=(replace(scene.cameras[0], camera_to_ego=mount),))
    edited = edit_scene(scene, "slower")
    np.testing.assert_array_equal(edited.cameras[0].camera_to_ego, mount[0])


@pytest.mark.parametrize("name", sorted(set(EDITS) - {"as-recorded", "dusk", "rain", "day"}))
def test_a_scene_without_pose_cannot_be_edited(name: str) -> None:
    with pytest.raises(EditNotApplicable, match="scene-1"):
        edit_scene(replace(driving_scene(), ego_to_world=None), name)


def test_weather_is_for_driving_only() -> None:
    with pytest.raises(EditNotApplicable, match="orbit"):
        edit_scene(replace(driving_scene(), domain="orbit"), "rain")


def test_parked_cars_do_not_brake() -> None:
    scene = driving_scene()
    with pytest.raises(EditNotApplicable, match="no moving vehicle"):
        edit_scene(replace(scene, tracks=scene.tracks[1:]), "agent-brakes")
