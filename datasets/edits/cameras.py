"""Edits of the cameras: another mount, as on another vehicle."""

from dataclasses import replace

import numpy as np

from driveforge.datasets.edits.paths import EditNotApplicable
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Camera, Scene

# A camera lower than this would be in the body of the vehicle or below the road.
MIN_HEIGHT_M = 0.3


def move_cameras(scene: Scene, height: float, pitch: float) -> Scene:
    """Every camera ``height`` m higher and tilted down by ``pitch`` degrees about its own lateral axis."""
    if not all(camera.is_calibrated for camera in scene.cameras):
        raise EditNotApplicable(f"{scene.clip_id}: needs the calibration of every camera")
    return replace(scene, cameras=tuple(_move(scene, camera, height, pitch) for camera in scene.cameras))


def _move(scene: Scene, camera: Camera, height: float, pitch: float) -> Camera:
    assert camera.camera_to_ego is not None
    moved: Array = np.array(camera.camera_to_ego)
    moved[..., 2, 3] += height
    if (moved[..., 2, 3] < MIN_HEIGHT_M).any():
        raise EditNotApplicable(f"{scene.clip_id}: camera {camera.name} would be less than {MIN_HEIGHT_M} m high")
    moved[..., :3, :3] = moved[..., :3, :3] @ _tilt_down(np.radians(pitch))
    return replace(camera, camera_to_ego=moved)


def _tilt_down(angle: float) -> Array:
    """Rotation about camera x (right) that turns the optical axis z toward y (down)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])
