"""One camera of a clip: its frames, its commanded motion, and the tracks of the scene."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array, inverse
from driveforge.datasets.scene import Camera, Clip, Scene, Track
from driveforge.datasets.select_frames import select_frames
from driveforge.validation.records import NO_INTRINSICS, NO_POSE

# Lengths in the image are given in reference pixels, those of the image scaled to this many rows.
REFERENCE_ROWS = 256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CameraMotion:
    """Camera motion from frame a to frame b: X_b = ``rotation`` X_a + ``translation`` (meters)."""

    rotation: Array
    translation: Array

    @property
    def baseline(self) -> float:
        """Distance between the two camera centers in meters."""
        return float(np.linalg.norm(self.translation))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CommandedCamera:
    """The commanded camera: ``camera_to_world`` ``(T, 4, 4)`` and ``intrinsics`` ``(3, 3)`` px.

    ``up`` ``(T, 3)`` is the ego's z axis in camera coordinates and ``height`` ``(T,)`` m the height of the camera above
    the ego's z = 0, which is the ground; ``pixel`` is the size of a reference pixel at the image center on the plane
    z = 1; ``image_size`` is width, height in px.
    """

    intrinsics: Array
    camera_to_world: Array
    up: Array
    height: Array
    pixel: float
    image_size: tuple[int, int]

    def motion(self, a: int, b: int) -> CameraMotion:
        a_to_b = inverse(self.camera_to_world[b]) @ self.camera_to_world[a]
        return CameraMotion(rotation=a_to_b[:3, :3], translation=a_to_b[:3, 3])

    def directions(self, points: NDArray[np.float32] | Array) -> Array:
        """Camera-frame directions ``(..., 3)`` with z = 1 through image points ``(..., 2)`` px."""
        homogeneous = np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1)
        return np.asarray(homogeneous @ np.linalg.inv(self.intrinsics).T)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """One camera of a clip; ``frames`` ``(T, H, W, 3)`` RGB and ``gray`` ``(T, H, W)`` are uint8.

    If the camera has no pose or no intrinsics, ``command`` is None and ``reason`` says why.
    """

    camera: str
    frames: NDArray[np.uint8]
    gray: NDArray[np.uint8]
    timestamps: Array
    tracks: tuple[Track, ...]
    command: CommandedCamera | None
    reason: str = ""

    @property
    def scale(self) -> float:
        """Reference pixels in one pixel of this image."""
        return REFERENCE_ROWS / self.gray.shape[1]

    @property
    def num_frames(self) -> int:
        return len(self.gray)


def list_views(clip: Clip) -> list[View]:
    """The cameras of a clip, calibrated ones first, without held frames at the end."""
    scene = without_held_frames(clip.scene)
    views = [_view(scene, camera, clip.frames[i, : scene.num_frames]) for i, camera in enumerate(scene.cameras)]
    return sorted(views, key=lambda view: view.command is None)


def reference_view(clip: Clip) -> View:
    """The first calibrated camera, or the first camera if none is calibrated."""
    return list_views(clip)[0]


def without_held_frames(scene: Scene) -> Scene:
    """The scene without the repeated frames at its end."""
    return select_frames(scene, np.arange(scene.num_frames - scene.held_frames)) if scene.held_frames else scene


def _view(scene: Scene, camera: Camera, frames: NDArray[np.uint8]) -> View:
    command, reason = _command(scene, camera), ""
    if command is None:
        reason = NO_INTRINSICS if camera.intrinsics is None else NO_POSE
    return View(
        camera=camera.name,
        frames=frames,
        gray=np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]),
        timestamps=scene.timestamps,
        tracks=scene.tracks,
        command=command,
        reason=reason,
    )


def _command(scene: Scene, camera: Camera) -> CommandedCamera | None:
    if camera.intrinsics is None or camera.camera_to_ego is None or scene.ego_to_world is None:
        return None
    focal = (camera.intrinsics[0, 0] + camera.intrinsics[1, 1]) / 2
    to_ego = np.broadcast_to(camera.camera_to_ego, (scene.num_frames, 4, 4))
    return CommandedCamera(
        intrinsics=camera.intrinsics,
        camera_to_world=scene.camera_to_world(camera),
        up=np.ascontiguousarray(to_ego[:, 2, :3]),
        height=np.ascontiguousarray(to_ego[:, 2, 3]),
        pixel=float(camera.height / REFERENCE_ROWS / focal),
        image_size=(camera.width, camera.height),
    )


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Run OpenCV on one thread within the context, since clips are measured in parallel processes."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
