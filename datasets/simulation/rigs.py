"""Camera rigs: the six cameras of nuScenes at any image size, and a free camera."""

from dataclasses import dataclass, replace

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, Array, pose, yaw_rotation
from driveforge.datasets.scene import Camera


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraMount:
    """Position in the ego frame in m; yaw and horizontal field of view in degrees."""

    position: tuple[float, float, float]
    yaw: float
    field_of_view: float


# From the sensor setup of nuScenes (Caesar et al. 2020, arXiv 1903.11027).
CAMERA_MOUNTS: dict[str, CameraMount] = {
    "CAM_FRONT": CameraMount(position=(1.70, 0.02, 1.51), yaw=0.0, field_of_view=64.0),
    "CAM_FRONT_RIGHT": CameraMount(position=(1.55, -0.49, 1.50), yaw=-56.0, field_of_view=64.0),
    "CAM_BACK_RIGHT": CameraMount(position=(1.01, -0.48, 1.56), yaw=-110.0, field_of_view=64.0),
    "CAM_BACK": CameraMount(position=(0.03, 0.0, 1.58), yaw=180.0, field_of_view=89.0),
    "CAM_BACK_LEFT": CameraMount(position=(1.03, 0.48, 1.59), yaw=108.0, field_of_view=64.0),
    "CAM_FRONT_LEFT": CameraMount(position=(1.52, 0.49, 1.51), yaw=55.0, field_of_view=64.0),
}


def intrinsics(height: int, width: int, field_of_view: float) -> Array:
    """Pinhole intrinsics ``(3, 3)`` in pixels with a centered principal point; ``field_of_view`` is horizontal, in
    degrees."""
    focal = width / 2 / np.tan(np.radians(field_of_view) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def mount_cameras(names: tuple[str, ...], height: int, width: int) -> tuple[Camera, ...]:
    """Cameras of the rig by name; raises UserError for an unknown name."""
    unknown = [name for name in names if name not in CAMERA_MOUNTS]
    if unknown:
        raise UserError(f"unknown camera {unknown[0]!r}; choose from {', '.join(CAMERA_MOUNTS)}")
    return tuple(_build_camera(name, CAMERA_MOUNTS[name], height, width) for name in names)


def randomize_cameras(cameras: tuple[Camera, ...], rng: np.random.Generator) -> tuple[Camera, ...]:
    """The same cameras with a random focal length, height, pitch and roll, as on another vehicle."""
    zoom, height_offset = rng.uniform(0.72, 1.2), rng.uniform(-0.25, 0.3)
    pitch, roll = np.radians(rng.uniform(-2.5, 2.5)), np.radians(rng.normal(0, 0.5))
    c, s, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    pitch_pose = pose([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]], [0.0, 0.0, 0.0])
    roll_pose = pose([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]], [0.0, 0.0, 0.0])
    height_pose = pose(np.eye(3), [0.0, 0.0, height_offset])
    return tuple(
        replace(
            camera,
            intrinsics=np.asarray(camera.intrinsics) * [[zoom, 1, 1], [1, zoom, 1], [1, 1, 1]],
            camera_to_ego=height_pose @ np.asarray(camera.camera_to_ego) @ pitch_pose @ roll_pose,
        )
        for camera in cameras
    )


def _build_camera(name: str, mount: CameraMount, height: int, width: int) -> Camera:
    return Camera(
        name=name,
        width=width,
        height=height,
        intrinsics=intrinsics(height, width, mount.field_of_view),
        camera_to_ego=pose(yaw_rotation(np.radians(mount.yaw)), mount.position) @ FORWARD_CAMERA_TO_EGO,
    )


def free_camera(height: int, width: int, field_of_view: float = 60.0) -> Camera:
    """A camera without a vehicle: the ego frame has the camera's position, with x forward."""
    return Camera(
        name="CAM",
        width=width,
        height=height,
        intrinsics=intrinsics(height, width, field_of_view),
        camera_to_ego=FORWARD_CAMERA_TO_EGO,
    )
