"""Warped frames follow the ego pose and the boxes of the scene."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.conditioning.layout import render_layout
from driveforge.datasets.conditioning.rays import plucker_rays
from driveforge.datasets.conditioning.warp import warp_frame
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, Array, inverse, pose, project, transform, yaw_rotation
from driveforge.datasets.scene import Camera, Scene, Track

H, W, T = 96, 160, 9
K = np.array([[128.0, 0, 79.5], [0, 128, 47.5], [0, 0, 1]])


def drive(yaw_rate: float = 0.0, speed: float = 8.0, boxes: tuple[Track, ...] = ()) -> Scene:
    camera_to_ego = FORWARD_CAMERA_TO_EGO.copy()
    camera_to_ego[:3, 3] = [1.5, 0, 1.5]
    times = np.arange(T) * 0.1
    yaw = yaw_rate * times
    heading = np.stack([np.cos(yaw), np.sin(yaw), 0 * yaw], -1)
    position = np.concatenate([np.zeros((1, 3)), np.cumsum(heading[:-1] * speed * 0.1, 0)])
    camera = Camera(name="CAM_FRONT", width=W, height=H, intrinsics=K, camera_to_ego=camera_to_ego)
    return Scene(
        clip_id="drive",
        domain="driving-day",
        timestamps=times,
        cameras=(camera,),
        ego_to_world=pose(yaw_rotation(yaw), position),
        tracks=boxes,
    )


def noise_image(seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 255, (H // 4, W // 4, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC), np.uint8)


def car_track(x: float, y: float, dy: float = 0.0) -> Track:
    centers = np.stack([np.full(T, x), y + dy * np.arange(T), np.full(T, 0.8)], -1)
    return Track(
        id="car",
        category="vehicle.car",
        size=[4.5, 1.9, 1.6],
        box_to_world=pose(np.eye(3), centers),
        present=[True] * T,
    )


def world_at(scene: Scene, frame: int, pixel: Array) -> Array:
    """The ground point at ``pixel`` of ``frame``, in the world frame."""
    camera_to_world = scene.camera_to_world(scene.cameras[0])[frame]
    ray = camera_to_world[:3, :3] @ np.linalg.inv(K) @ np.array([*pixel, 1.0])
    return camera_to_world[:3, 3] - ray * camera_to_world[2, 3] / ray[2]


def test_the_known_frame_is_unchanged() -> None:
    image = noise_image()
    frames, mask = warp_frame(image, drive(), drive().cameras[0])
    assert np.array_equal(frames[0], image)
    assert mask[0].all()


@pytest.mark.parametrize("yaw_rate", [0.0, 0.2, -0.2])
def test_a_spot_on_the_road_moves_with_the_camera_pose(yaw_rate: float) -> None:
    scene = drive(yaw_rate)
    start = np.array([75.0, 66.0])
    image = np.zeros((H, W, 3), np.uint8)
    cv2.circle(image, (75, 66), 2, (255, 255, 255), -1)
    frames, _ = warp_frame(image, scene, scene.cameras[0])
    spot = world_at(scene, 0, start)
    for t in (2, 4):
        expected, _ = project(transform(inverse(scene.camera_to_world(scene.cameras[0])[t]), spot[None])[0], K)
        rows, columns = np.nonzero(frames[t, ..., 0] > 150)
        np.testing.assert_allclose([columns.mean(), rows.mean()], expected, atol=1.0)


def test_a_vehicle_is_warped_with_its_box_and_leaves_a_gap() -> None:
    scene = drive(speed=0.0, boxes=(car_track(14, 0, dy=0.2),))
    layout = render_layout(scene, scene.cameras[0])
    box_at = [np.nonzero(layout[t].any(-1)) for t in range(T)]
    image = np.zeros((H, W, 3), np.uint8)
    image[box_at[0]] = 200
    frames, mask = warp_frame(image, scene, scene.cameras[0])
    moved = [np.nonzero(frames[t, ..., 0] > 150)[1].mean() for t in (0, 8)]
    boxes = [box_at[t][1].mean() for t in (0, 8)]
    assert moved[1] - moved[0] == pytest.approx(boxes[1] - boxes[0], abs=1.5)
    assert boxes[1] < boxes[0] - 10  # to the left is towards +y
    behind = mask[8][box_at[0]].mean()
    assert behind < 0.5, "pixels that the vehicle hid in the first frame are unknown"


def test_pixels_magnified_by_more_than_two_are_unknown() -> None:
    """A car 12 m ahead, approached to 8 m and then to 4 m: magnified 1.5 and 3 times, and always in view."""
    at = {0.5: 8.0, 1.0: 4.0}
    for speed, distance in at.items():
        scene = drive(speed=speed * 10, boxes=(car_track(1.5 + 2.25 + 12, 0),))
        _, mask = warp_frame(noise_image(), scene, scene.cameras[0])
        back = slice(46, 50), slice(76, 84)  # the middle of its rear side, around the optical axis
        assert mask[0][back].all()
        assert mask[-1][back].all() == (distance > 6), f"{distance} m away"
        assert mask[-1][back].any() == (distance > 6), f"{distance} m away"


def test_a_side_that_was_hidden_is_unknown() -> None:
    """A car ahead turns by 90 degrees, so that it shows a side that was hidden in the first frame."""
    box = car_track(14, 0)
    turns = yaw_rotation(np.linspace(0, np.pi / 2, T))
    turning = pose(turns, box.box_to_world[:, :3, 3])
    scene = drive(speed=0.0, boxes=(replace(box, box_to_world=turning),))
    _, mask = warp_frame(noise_image(), scene, scene.cameras[0])
    side = render_layout(scene, scene.cameras[0])[-1].any(-1)
    assert mask[0].all()
    assert mask[-1][side].mean() < 0.2
    still = drive(speed=0.0, boxes=(box,))
    assert warp_frame(noise_image(), still, still.cameras[0])[1].all()


def test_a_scene_without_pose_cannot_be_warped() -> None:
    scene = Scene(clip_id="x", domain="d", timestamps=[0.0, 0.1], cameras=(Camera(name="c", width=W, height=H),))
    with pytest.raises(UserError, match="no pose"):
        warp_frame(noise_image(), scene, scene.cameras[0])


def test_plucker_rays_are_rays() -> None:
    scene = drive(0.3)
    rays = plucker_rays(scene, scene.cameras[0], 8)
    assert rays.shape == (6, T, H // 8, W // 8)
    directions, moments = rays[:3], rays[3:]
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1, atol=1e-5)
    np.testing.assert_allclose((directions * moments).sum(0), 0, atol=1e-5)
    assert directions[0, 0].min() > 0.5, "the front camera faces ego x"


def test_boxes_behind_the_camera_are_not_drawn() -> None:
    scene = drive(speed=20.0, boxes=(car_track(9, 0),))
    layout = render_layout(scene, scene.cameras[0])
    assert layout[0].any() and not layout[8].any()
