"""Plausibility checks of orientations, mainly for quaternions that are not in the order w, x, y, z.

Ego paths and boxes are checked over the whole data set, because a single unusual path can be valid (a maneuver in a
parking lot). Cameras look roughly level, so each selected camera is checked.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array
from driveforge.datasets.nuscenes.devkit import CheckedNuScenes
from driveforge.datasets.nuscenes.frames import Recording
from driveforge.datasets.nuscenes.poses import rows_to_poses
from driveforge.datasets.nuscenes.taxonomy import Row

# Vehicles tilt by less than 60 degrees, and paths of 8 m or more are mostly forward in some scene of a data set.
_MIN_UP, _MIN_FORWARD, _MIN_PATH_M = 0.5, 0.5, 8.0
_MAX_TILTED_BOXES = 0.1
_MAX_SPEED = 150.0  # m/s
_MIN_RIG_CAMERAS = 3
_MAX_CAMERA_TILT = 45.0  # degrees


def check_orientations(nusc: CheckedNuScenes, scenes: Sequence[Sequence[Recording]]) -> None:
    """Raise UserError naming a table with implausible rotations, or an ego pose that the vehicle cannot reach."""
    for recordings in scenes:
        for recording in recordings:
            _check_speed(nusc, recording)
    paths = [np.concatenate([recording.ego_to_world for recording in recordings]) for recordings in scenes]
    if problem := _diagnose_paths(paths):
        raise UserError(_format_error(nusc, "ego_pose", f"in every scene the vehicle {problem}"))
    if problem := _diagnose_cameras(nusc):
        raise UserError(_format_error(nusc, "calibrated_sensor", problem))
    for recordings in scenes:
        for recording in recordings:
            _check_cameras(nusc, recording)
    if problem := _diagnose_boxes(nusc):
        raise UserError(_format_error(nusc, "sample_annotation", problem))


def _check_speed(nusc: CheckedNuScenes, recording: Recording) -> None:
    steps = np.linalg.norm(np.diff(recording.ego_to_world[:, :3, 3], axis=0), axis=1)
    speeds = steps / np.diff(recording.seconds)
    if len(speeds) and speeds.max() > _MAX_SPEED:
        frame = int(speeds.argmax()) + 1
        token = nusc.get("sample_data", recording.sample_data[0][frame])["ego_pose_token"]
        raise UserError(
            f"{Path(nusc.table_root) / 'ego_pose'}.json: token {shorten(token)}: the vehicle jumps by "
            f"{steps[frame - 1]:.0f} m in {steps[frame - 1] / speeds[frame - 1]:.2f} s (scene {recording.row['name']})"
        )


def _diagnose_paths(paths: Sequence[Array]) -> str:
    """What is wrong with all ego paths ``(N, 4, 4)``; "" if one is plausible or all are too short."""
    up = [float(path[:, 2, 2].mean()) for path in paths]
    if max(up) < _MIN_UP:
        return f"is tilted by {np.degrees(np.arccos(np.clip(np.mean(up), -1, 1))):.0f} degrees"
    ahead = [_forward_fraction(path) for path in paths if _path_length(path) >= _MIN_PATH_M]
    if ahead and max(ahead) < _MIN_FORWARD:
        return "drives backwards" if np.mean(ahead) < -_MIN_FORWARD else "drives sideways"
    return ""


def _diagnose_cameras(nusc: CheckedNuScenes) -> str:
    cameras = {row["token"]: row["channel"] for row in nusc.sensor if row["modality"] == "camera"}
    rows = [row for row in nusc.calibrated_sensor if row["sensor_token"] in cameras]
    if len({cameras[row["sensor_token"]] for row in rows}) < _MIN_RIG_CAMERAS:
        return ""
    rotation = rows_to_poses(rows)[:, :3, :3]
    # The optical axis is about level, and the image's down axis points down.
    is_level = (np.abs(rotation[:, 2, 2]) < 0.7) & (rotation[:, 2, 1] < -0.5)
    return "most cameras look up or down, or are upside down" if is_level.mean() < 0.5 else ""


def _check_cameras(nusc: CheckedNuScenes, recording: Recording) -> None:
    for camera, images in zip(recording.cameras, recording.sample_data, strict=True):
        row = nusc.get("calibrated_sensor", nusc.get("sample_data", images[0])["calibrated_sensor_token"])
        right, down, ahead = rows_to_poses([row])[0, 2, :3]  # the upward component of each camera axis
        pitch, roll = np.degrees([np.arcsin(np.clip(ahead, -1, 1)), np.arctan2(right, -down)])
        if abs(pitch) > _MAX_CAMERA_TILT:
            found = f"looks {abs(pitch):.0f} degrees into the {'sky' if pitch > 0 else 'ground'}"
        elif abs(roll) > _MAX_CAMERA_TILT:
            found = f"is rolled by {abs(roll):.0f} degrees"
        else:
            continue
        where = f"token {shorten(row['token'])}: {shorten(camera.name)}"
        raise UserError(
            f"{_format_error(nusc, 'calibrated_sensor', f'{where} {found}')} If so, remove the camera from data.cameras"
        )


def _diagnose_boxes(nusc: CheckedNuScenes) -> str:
    rows = [row for row in nusc.sample_annotation if row["category_name"].startswith("vehicle")]
    if not rows:
        return ""
    poses = rows_to_poses(rows)
    if (poses[:, 2, 2] < _MIN_UP).mean() > _MAX_TILTED_BOXES:
        return "many vehicles are tilted by more than 60 degrees"
    ahead, path_length = 0.0, 0.0
    for row_indices in _group_by_instance(nusc, rows):
        ahead += _forward_fraction(poses[row_indices]) * _path_length(poses[row_indices])
        path_length += _path_length(poses[row_indices])
    return "the vehicles drive backwards" if path_length >= _MIN_PATH_M and ahead / path_length < -_MIN_FORWARD else ""


def _group_by_instance(nusc: CheckedNuScenes, rows: Sequence[Row]) -> list[list[int]]:
    """Row indices of each instance, sorted by time."""
    row_indices: dict[str, list[int]] = defaultdict(list)
    times = [nusc.get("sample", row["sample_token"])["timestamp"] for row in rows]
    for row_index in np.argsort(times, kind="stable").tolist():
        row_indices[rows[row_index]["instance_token"]].append(row_index)
    return list(row_indices.values())


def _path_length(path: Array) -> float:
    return float(np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1).sum())


def _forward_fraction(path: Array) -> float:
    """Path length along the x axis of the poses, as a fraction: 1 straight ahead, -1 backwards, 0 without motion."""
    steps = np.diff(path[:, :3, 3], axis=0)
    return float(np.einsum("ij,ij->", steps, path[:-1, :3, 0]) / max(_path_length(path), 1e-9))


def _format_error(nusc: CheckedNuScenes, table: str, found: str) -> str:
    return f"{Path(nusc.table_root) / table}.json: {found}; is the rotation in the order w, x, y, z?"
