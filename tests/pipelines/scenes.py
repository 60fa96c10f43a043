"""Small hand-made scenes."""

import numpy as np

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, Array, pose, yaw_rotation
from driveforge.datasets.scene import Camera, Scene, Track


def driven_path(num_frames: int = 9, speed: float = 8.0, yaw_rate: float = 0.0, rate: float = 10.0) -> Array:
    """Ego poses ``(T, 4, 4)`` along an arc that starts at (500, 500) with a heading of 0.3 rad."""
    headings = 0.3 + yaw_rate * np.arange(num_frames) / rate
    steps = speed / rate * np.stack([np.cos(headings), np.sin(headings), 0 * headings], -1)
    positions = np.array([500.0, 500.0, 0.0]) + np.vstack([np.zeros(3), np.cumsum(steps[:-1], 0)])
    return pose(yaw_rotation(headings), positions)


def driving_scene(clip_id: str = "scene-1", *, num_frames: int = 9, speed: float = 8.0, yaw_rate: float = 0.0) -> Scene:
    """A forward camera, a car that drives 12 m ahead, and a parked one."""
    path = driven_path(num_frames, speed, yaw_rate)
    ahead, parked = pose(np.eye(3), [12.0, 1.0, 0.8]), pose(np.eye(3), [20.0, -4.0, 0.8])
    mount = pose(FORWARD_CAMERA_TO_EGO[:3, :3], [1.5, 0.0, 1.6])
    intrinsics = np.array([[60.0, 0, 40], [0, 60.0, 24], [0, 0, 1]])
    everywhere = np.ones(num_frames, bool)
    tracks = (
        Track(id="lead", category="vehicle.car", size=[4, 1.8, 1.6], box_to_world=path @ ahead, present=everywhere),
        Track(
            id="parked",
            category="vehicle.car",
            size=[4, 1.8, 1.6],
            box_to_world=np.tile(path[0] @ parked, (num_frames, 1, 1)),
            present=everywhere,
        ),
    )
    return Scene(
        clip_id=clip_id,
        domain="driving-day",
        caption="a street",
        timestamps=100.0 + np.arange(num_frames) / 10,
        cameras=(Camera(name="front", width=80, height=48, intrinsics=intrinsics, camera_to_ego=mount),),
        ego_to_world=path,
        tracks=tracks,
        source="by hand",
        split="train",
    )
