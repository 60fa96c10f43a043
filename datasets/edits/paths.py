"""Paths of the ego vehicle and of boxes: poses over time, which edits replace."""

from dataclasses import replace

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, yaw_rotation
from driveforge.datasets.scene import Camera, Scene, Track

MIN_PATH_M = 2.0
# A vehicle cannot slide sideways: the lateral offset of a path is at most this fraction of its length.
MAX_LATERAL_RATIO = 1 / 8


class EditNotApplicable(UserError):
    """The scene does not have what the edit changes, or the edited scene would not be plausible."""


def require_ego_pose(scene: Scene) -> Array:
    if scene.ego_to_world is None:
        raise EditNotApplicable(f"{scene.clip_id}: no ego pose to edit")
    return scene.ego_to_world


def moving_ego_path(scene: Scene) -> Array:
    """The ego path; raises EditNotApplicable if it is unknown or too short to be edited."""
    path = require_ego_pose(scene)
    if path_length(path) < MIN_PATH_M:
        raise EditNotApplicable(f"{scene.clip_id}: the ego vehicle moves less than {MIN_PATH_M} m")
    return path


def with_ego_path(scene: Scene, path: Array) -> Scene:
    """``scene`` on another ego path; extrinsics that include recorded ego motion are fixed to their first frame."""
    cameras = tuple(fix_extrinsics(camera) for camera in scene.cameras)
    return replace(scene, ego_to_world=path, cameras=cameras, tracks=without_lidar_points(scene.tracks))


def fix_extrinsics(camera: Camera) -> Camera:
    extrinsics = camera.camera_to_ego
    return camera if extrinsics is None or extrinsics.ndim == 2 else replace(camera, camera_to_ego=extrinsics[0])


def with_track_path(scene: Scene, track: Track, path: Array) -> Scene:
    """``path`` ``(N, 4, 4)`` replaces the poses of the N frames in which ``track`` is present."""
    poses = np.array(track.box_to_world)
    poses[track.present] = path
    edited_track = replace(track, box_to_world=poses, attributes=None)
    tracks = tuple(edited_track if t.id == track.id else t for t in scene.tracks)
    return replace(scene, tracks=without_lidar_points(tracks))


def without_lidar_points(tracks: tuple[Track, ...]) -> tuple[Track, ...]:
    """From another place, or behind another object, the recorded lidar would have hit other points of a box."""
    return tuple(replace(track, lidar_points=None) for track in tracks)


def path_length(path: Array) -> float:
    return float(np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1).sum())


def slowing_times(times: Array, last_speed: float) -> Array:
    """Recording times to show at ``times``, in s.

    Playback speed falls linearly from 1 to ``last_speed`` over the duration D, and its integral over the elapsed time e
    is e - (1 - last_speed) e^2 / 2D.
    """
    elapsed = times - times[0]
    return np.asarray(times - (1 - last_speed) * elapsed**2 / (2 * elapsed[-1]))


def shift_path(path: Array, meters: float) -> Array:
    """``path`` ``(N, 4, 4)`` with a lateral offset of up to ``meters`` and headings tangent to the new path.

    The offset is smoothstep, u^2 (3 - 2u), of the traveled fraction u, so it starts and ends with slope 0.
    """
    steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    traveled, length = np.append(0.0, np.cumsum(steps)), float(steps.sum())
    largest = float(np.clip(meters, -length * MAX_LATERAL_RATIO, length * MAX_LATERAL_RATIO))
    u = traveled / length
    offset, slope = largest * u**2 * (3 - 2 * u), largest * 6 * u * (1 - u) / length
    change = np.tile(np.eye(4), (len(path), 1, 1))
    change[:, 1, 3], change[:, :3, :3] = offset, yaw_rotation(np.arctan(slope))
    return np.asarray(path @ change)


def interpolate(times: Array, path: Array, query_times: Array) -> Array:
    """Poses ``(M, 4, 4)`` at ``query_times``, all within ``times``: linear in translation, chordal in rotation."""
    after = np.clip(np.searchsorted(times, query_times, side="left"), 1, len(times) - 1)
    weight = ((query_times - times[after - 1]) / (times[after] - times[after - 1]))[:, None, None]
    blend = (1 - weight) * path[after - 1] + weight * path[after]
    # The rotation nearest to a blend of two matrices is its polar factor.
    u, _, vt = np.linalg.svd(blend[:, :3, :3])
    blend[:, :3, :3] = u @ vt
    return np.asarray(np.where(weight == 0, path[after - 1], blend))


def braking_times(times: Array, path: Array, deceleration: float) -> Array:
    """Recording times at which ``path`` is as far as a vehicle that brakes by ``deceleration`` m/s², until it stops."""
    steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    recorded, elapsed = np.append(0.0, np.cumsum(steps)), times - times[0]
    speed = steps[0] / elapsed[1]
    moving = np.minimum(elapsed, speed / deceleration)
    # Never ahead of the recording, whose vehicle may brake harder.
    traveled = np.minimum(speed * moving - deceleration * moving**2 / 2, recorded)
    return np.asarray(np.minimum(np.interp(traveled, recorded, times), times))
