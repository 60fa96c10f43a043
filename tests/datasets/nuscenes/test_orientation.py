"""Rotations in another order than w, x, y, z are refused; unusual but valid motion is not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.geometry import pose, yaw_rotation
from driveforge.datasets.scene import Scene
from tests.datasets.nuscenes.world import (
    NUM_FRAMES,
    RATE,
    VERSION,
    camera,
    edit_table,
    read_error,
    read_scenes,
    small_scene,
    track,
    write_world,
)
from tests.defaults import make_framing

SHORT = make_framing(height=32, width=56, num_frames=5, stride=5)


def driving(yaw: float, speed: float = 12.0) -> Scene:
    """A straight drive with heading ``yaw``, four cameras, and a car that drives alongside."""
    direction = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    seconds = np.arange(NUM_FRAMES)[:, None] / RATE
    car = track("car", "vehicle.car", (300 + 9 * direction[0], 300 + 9 * direction[1]), tuple(speed * direction[:2]))
    car_poses = pose(yaw_rotation(np.full(NUM_FRAMES, yaw)), car.box_to_world[:, :3, 3])
    cameras = tuple(
        camera(name, np.radians(angle))
        for name, angle in (("CAM_FRONT", 0), ("CAM_FRONT_LEFT", 55), ("CAM_BACK", 180), ("CAM_BACK_RIGHT", -110))
    )
    car = replace(car, box_to_world=car_poses)
    ego = pose(yaw_rotation(np.full(NUM_FRAMES, yaw)), np.array([300.0, 300, 0]) + seconds * speed * direction)
    return small_scene(ego_to_world=ego, tracks=(car,), lanes=(), cameras=cameras)


def reorder(root: Path, table: str, order: list[int]) -> None:
    edit_table(root, table, lambda rows: [row.update(rotation=[row["rotation"][n] for n in order]) for row in rows])


@pytest.mark.parametrize("yaw", [0.0, 0.4, 1.5, 3.0, -2.0])
def test_rotations_in_another_order_are_refused(tmp_path: Path, yaw: float) -> None:
    root = write_world(tmp_path / "ego", driving(yaw))
    assert len(read_scenes(root)) == 1
    reorder(root, "ego_pose", [1, 2, 3, 0])
    message = read_error(root, SHORT)
    assert "ego_pose.json: in every scene the vehicle" in message and "order w, x, y, z?" in message

    root = write_world(tmp_path / "cameras", driving(yaw))
    reorder(root, "calibrated_sensor", [1, 2, 3, 0])
    assert "calibrated_sensor.json: most cameras" in read_error(root, SHORT)

    root = write_world(tmp_path / "boxes", driving(yaw))
    reorder(root, "sample_annotation", [1, 2, 3, 0])
    assert "sample_annotation.json: " in read_error(root, SHORT) and "order w, x, y, z?" in read_error(root, SHORT)


@pytest.mark.parametrize("channel", ["CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"])
def test_a_single_camera_in_another_order_is_refused_by_its_token(tmp_path: Path, channel: str) -> None:
    scene = driving(0.3)
    scene = small_scene(
        ego_to_world=scene.ego_to_world,
        tracks=(),
        lanes=(),
        cameras=tuple(camera for camera in scene.cameras if camera.name == channel),
    )
    root = write_world(tmp_path, scene)
    assert len(read_scenes(root, cameras=(channel,))) == 1
    reorder(root, "calibrated_sensor", [1, 2, 3, 0])
    names = ("sensor", "calibrated_sensor")
    sensors, mounts = (json.loads((root / VERSION / f"{name}.json").read_text()) for name in names)
    (sensor,) = (row["token"] for row in sensors if row["channel"] == channel)
    (row,) = (row for row in mounts if row["sensor_token"] == sensor)
    message = read_error(root, SHORT, cameras=(channel,))
    assert f"calibrated_sensor.json: token {row['token']}: {channel} " in message
    assert "into the " in message or "is rolled by 180 degrees" in message
    assert "order w, x, y, z?" in message


@pytest.mark.parametrize(("pitch", "roll", "into"), [(40, 0, ""), (-44, 30, ""), (50, 0, "sky"), (-60, 5, "ground")])
def test_cameras_must_look_roughly_level(tmp_path: Path, pitch: float, roll: float, into: str) -> None:
    up, around = np.radians([pitch, roll])
    tilt = np.array([[1, 0, 0], [0, np.cos(up), -np.sin(up)], [0, np.sin(up), np.cos(up)]])
    twist = np.array([[np.cos(around), -np.sin(around), 0], [np.sin(around), np.cos(around), 0], [0, 0, 1]])
    level = camera("CAM_FRONT", 0.2)
    assert level.camera_to_ego is not None
    tilted = replace(level, camera_to_ego=level.camera_to_ego @ pose(tilt @ twist, np.zeros(3)))
    root = write_world(tmp_path, small_scene(tracks=(), lanes=(), cameras=(tilted,)))
    if into:
        assert f"CAM_FRONT looks {abs(pitch)} degrees into the {into}" in read_error(root, SHORT)
    else:
        assert len(read_scenes(root)) == 1


def test_one_scene_of_backing_up_among_others_is_accepted(tmp_path: Path) -> None:
    ahead = driving(0.3)
    back = small_scene(
        "sim-0002", ego_to_world=ahead.ego_to_world[::-1].copy(), tracks=(), lanes=(), cameras=ahead.cameras
    )
    assert len(read_scenes(write_world(tmp_path, ahead, back))) == 2


def test_a_stationary_vehicle_is_accepted(tmp_path: Path) -> None:
    assert len(read_scenes(write_world(tmp_path, driving(1.0, speed=0.0)))) == 1
