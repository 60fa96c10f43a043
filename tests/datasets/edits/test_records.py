"""Edits as records: their parameters are checked, and the edited scenes are plausible."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.edits import EDITS, KINDS, Edit, EditNotApplicable, edit_scene, edit_text
from driveforge.datasets.edits.records import (
    AgentPath,
    Brake,
    CutIn,
    InsertAgent,
    MoveCameras,
    RemoveAgent,
    ShiftEgo,
    Slow,
    Weather,
)
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import inverse
from driveforge.datasets.scene import Scene
from tests.pipelines.scenes import driving_scene

BESIDE = InsertAgent(ahead=18.0, lateral=3.5)


def speeds(scene: Scene) -> Any:
    assert scene.ego_to_world is not None
    return np.linalg.norm(np.diff(scene.ego_to_world[:, :3, 3], axis=0), axis=1) / np.diff(scene.timestamps)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (Slow, {"factor": 1.5}, r"slow\.factor must be from 0 to 1, got 1\.5"),
        (Brake, {"deceleration": 0.0}, r"brake\.deceleration must be from 0\.5 to 9, got 0"),
        (Brake, {"deceleration": float("nan")}, r"brake\.deceleration must be from 0\.5 to 9, got nan"),
        (ShiftEgo, {"meters": 0.0}, "shift-ego changes nothing; use as-recorded"),
        (MoveCameras, {}, "camera changes nothing"),
        (AgentPath, {}, "agent-path changes nothing"),
        (Weather, {"to": "snow"}, r"weather\.to=snow is not one of day, dusk, rain"),
        (InsertAgent, {"ahead": 100.0, "lateral": 0.0}, r"insert-agent\.ahead must be from -50 to 80, got 100"),
    ],
)
def test_a_wrong_parameter_is_refused(kind: type, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(**parameters)


def test_the_text_of_an_edit_is_its_name_or_names_all_parameters() -> None:
    assert edit_text(Slow(factor=0.7)) == "slow(factor=0.7)"
    assert edit_text(Slow(factor=0.2)) == "slower"
    assert edit_text(BESIDE) == "insert-agent(category=car, ahead=18, lateral=3.5, speed=0)"
    assert edit_text(RemoveAgent()) == "remove-agent"
    assert [edit_text(edit) for edit in EDITS.values()] == list(EDITS)
    assert len({edit_text(Slow(factor=value)) for value in (0.1, 0.1 + 1e-12, 1 / 3)}) == 3


def test_every_kind_has_its_own_name() -> None:
    assert len(KINDS) == 13 and all(kind.kind == name for name, kind in KINDS.items())


@given(st.floats(12.0, 30.0), st.floats(1.0, 7.0))
def test_braking_loses_speed_evenly_on_the_recorded_path(speed: float, deceleration: float) -> None:
    scene = driving_scene(num_frames=17, speed=speed)
    edited = edit_scene(scene, Brake(deceleration=deceleration))
    np.testing.assert_allclose(np.diff(speeds(edited)), -deceleration / 10, atol=0.02 * deceleration)
    np.testing.assert_allclose((inverse(scene.ego_to_world[0]) @ edited.ego_to_world)[:, 1, 3], 0, atol=1e-9)


def test_hard_braking_ends_in_a_stop() -> None:
    edited = edit_scene(driving_scene(num_frames=17, speed=8.0), Brake(deceleration=9.0))
    assert speeds(edited)[-3:] == pytest.approx([0, 0, 0]) and speeds(edited)[0] > 7


@given(st.floats(-15.0, 15.0), st.floats(-0.5, 1.5))
def test_every_camera_moves_alike_and_the_boxes_stay(pitch: float, height: float) -> None:
    scene = driving_scene()
    moving_mount = np.tile(scene.cameras[0].camera_to_ego, (9, 1, 1))
    moving_mount[:, 0, 3] += 0.04 * np.arange(9)
    side = replace(scene.cameras[0], name="side", camera_to_ego=moving_mount)
    scene = replace(scene, cameras=(scene.cameras[0], side))
    edited = edit_scene(scene, MoveCameras(height=height, pitch=pitch or 1.0))
    for before, after in zip(scene.cameras, edited.cameras, strict=True):
        change = inverse(before.camera_to_ego) @ after.camera_to_ego
        np.testing.assert_allclose(change[..., 1, 2], np.sin(np.radians(pitch or 1.0)), atol=1e-9)
        raised = after.camera_to_ego[..., :3, 3] - before.camera_to_ego[..., :3, 3]
        np.testing.assert_allclose(raised, np.broadcast_to([0, 0, height], raised.shape), atol=1e-9)
    for old, new in zip(scene.tracks, edited.tracks, strict=True):
        np.testing.assert_array_equal(old.box_to_world, new.box_to_world)


def test_a_camera_below_the_road_is_refused() -> None:
    scene = driving_scene()
    low = scene.cameras[0].camera_to_ego.copy()
    low[2, 3] = 0.8
    scene = replace(scene, cameras=(replace(scene.cameras[0], camera_to_ego=low),))
    with pytest.raises(EditNotApplicable, match=r"camera front would be less than 0\.3 m high"):
        edit_scene(scene, MoveCameras(height=-1.0))


def test_an_inserted_agent_drives_beside_the_ego_path() -> None:
    scene = driving_scene(num_frames=17, yaw_rate=0.05)
    edited = edit_scene(scene, InsertAgent(ahead=7.0, lateral=3.5, speed=8.0))
    track = edited.tracks[-1]
    assert (track.id, track.category, len(edited.tracks)) == ("inserted-1", "vehicle.car", len(scene.tracks) + 1)
    in_ego = inverse(scene.ego_to_world) @ track.box_to_world
    np.testing.assert_allclose(in_ego[:, :3, 3], np.tile([7.0, 3.5, 0.8], (17, 1)), atol=0.3)
    assert edit_scene(edited, InsertAgent(ahead=30.0, lateral=5.0)).tracks[-1].id == "inserted-2"


def test_an_oncoming_agent_faces_the_ego_vehicle_and_comes_nearer() -> None:
    scene = driving_scene(num_frames=9)
    track = edit_scene(scene, InsertAgent(ahead=40.0, lateral=3.5, speed=-10.0)).tracks[-1]
    in_ego = inverse(scene.ego_to_world) @ track.box_to_world
    assert in_ego[0, 0, 0] == pytest.approx(-1.0)
    assert np.all(np.diff(in_ego[:, 0, 3]) < -1.7), "8 m/s and 10 m/s"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (InsertAgent(ahead=3.0, lateral=0.0), "would touch the ego vehicle in frame 0"),
        (InsertAgent(ahead=12.0, lateral=1.0, speed=12.0), "vehicle.car would touch lead in frame 0"),
        (InsertAgent(ahead=-20.0, lateral=3.0), "no camera would see the inserted car"),
        (AgentPath(speed=0.0), "vehicle.car would touch the ego vehicle in frame"),
        (CutIn(), "no vehicle drives ahead, beside the ego lane"),
    ],
)
def test_implausible_scenes_are_refused(edit: Edit, message: str) -> None:
    with pytest.raises(EditNotApplicable, match=message):
        edit_scene(driving_scene(num_frames=17, speed=12.0), edit)


def test_a_vehicle_cuts_in() -> None:
    scene = driving_scene(num_frames=17, speed=20.0)
    beside = scene.ego_to_world @ np.array([[1, 0, 0, 12.0], [0, 1, 0, 3.0], [0, 0, 1, 0.8], [0, 0, 0, 1]])
    scene = replace(scene, tracks=(replace(scene.tracks[0], box_to_world=beside), scene.tracks[1]))
    track = edit_scene(scene, CutIn()).tracks[0]
    np.testing.assert_allclose(track.box_to_world[0], beside[0])
    sideways = (inverse(scene.ego_to_world) @ track.box_to_world)[:, 1, 3]
    assert sideways[-1] == pytest.approx(0.0, abs=1e-6) and np.all(np.diff(sideways) < 0)
    assert edit_scene(scene, CutIn(lateral=1.0)).tracks[0].box_to_world[-1, 1, 3] != track.box_to_world[-1, 1, 3]
    slow = replace(scene, ego_to_world=driving_scene(num_frames=17, speed=6.0).ego_to_world)
    crawling = slow.ego_to_world @ np.array([[1, 0, 0, 12.0], [0, 1, 0, 3.0], [0, 0, 1, 0.8], [0, 0, 0, 1]])
    slow = replace(slow, tracks=(replace(scene.tracks[0], box_to_world=crawling),))
    with pytest.raises(EditNotApplicable, match=r"lead is too slow to move 1\.5 m sideways"):
        edit_scene(slow, CutIn())


def test_a_removed_agent_is_gone() -> None:
    assert [track.id for track in edit_scene(driving_scene(), RemoveAgent()).tracks] == ["parked"]


@pytest.mark.parametrize(
    ("edit", "keeps"),
    [(Slow(factor=0.5), True), (Weather(to="rain"), False), (BESIDE, False), (MoveCameras(pitch=2.0), False)],
)
def test_the_first_frame_is_dropped_if_it_shows_something_else(edit: Edit, keeps: bool) -> None:
    assert edit.keeps_first_frame == keeps
