"""The frames of nuScenes scenes: images, times, poses and calibration."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array, inverse
from driveforge.datasets.nuscenes.boxes import Instant
from driveforge.datasets.nuscenes.devkit import CheckedNuScenes
from driveforge.datasets.nuscenes.poses import rows_to_poses
from driveforge.datasets.nuscenes.taxonomy import Row
from driveforge.datasets.scene import Camera

# A larger change of calibration (rotation as a matrix entry, about 0.17 degrees) starts a new recording.
_MAX_SHIFT_M, _MAX_ROTATION, _MAX_INTRINSICS_CHANGE_PX = 0.02, 0.003, 0.5
_MAX_SAMPLE_OFFSET_US = 500_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """N frames of one scene with constant calibration: the images of the reference camera (the first of C cameras) and
    the nearest image of every other camera.

    ``timestamps`` ``(N,)`` are those of the reference camera and ``image_times`` ``(C, N)`` those of the image of each
    camera, in int64 microseconds. ``sample_data`` has N tokens per camera. ``camera_to_ego`` of a camera is ``(4, 4)``,
    or ``(N, 4, 4)`` if it triggers at other times than the reference.
    """

    row: Row
    timestamps: NDArray[np.int64]
    image_times: NDArray[np.int64]
    ego_to_world: Array
    cameras: tuple[Camera, ...]
    sample_data: tuple[tuple[str, ...], ...]
    instants: tuple[Instant, ...]

    @property
    def seconds(self) -> Array:
        """Seconds ``(N,)`` since the first frame."""
        return np.asarray((self.timestamps - self.timestamps[0]) / 1e6)

    @property
    def image_seconds(self) -> Array:
        """Image times ``(C, N)`` in seconds since the first frame."""
        return np.asarray((self.image_times - self.timestamps[0]) / 1e6)


def read_recordings(
    nusc: CheckedNuScenes, row: Row, data: dict[str, list[Row]], channels: Sequence[str]
) -> list[Recording]:
    """The recordings of scene ``row``, split where the calibration of a camera changes.

    ``data`` has the sample_data rows of each channel, from ``frames_by_scene``.
    """
    for channel in channels:
        if not data.get(channel):
            present = ", ".join(sorted(c for c in data if data[c])) or "none of the requested cameras"
            raise UserError(
                f"{row['name']} (scene.json token {row['token']}) has no images of {channel}; it has {present}"
            )
    times = _timestamps(nusc, data[channels[0]])
    instants = _instants(nusc, data[channels[0]])
    images = []
    for channel in channels:
        nearest = np.abs(_timestamps(nusc, data[channel])[None] - times[:, None]).argmin(1)
        images.append([data[channel][n] for n in nearest])
    return [
        _build_recording(nusc, row, channels, [frames[start:stop] for frames in images], instants[start:stop])
        for start, stop in _split_by_calibration(nusc, images)
    ]


def frames_by_scene(nusc: CheckedNuScenes, channels: Sequence[str], sweeps: bool) -> dict[str, dict[str, list[Row]]]:
    """sample_data rows by scene token and channel, sorted by time.

    Sweeps before the first or after the last key frame are left out, because boxes cannot be interpolated there.
    """
    present = sorted({row["channel"] for row in nusc.sensor if row["modality"] == "camera"})
    for channel in channels:
        if channel not in present:
            path = f"{nusc.table_root}/sensor.json"
            raise UserError(f"{path} has no camera channel {channel!r}; it has {', '.join(present) or 'no camera'}")
    frames: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in nusc.sample_data:
        if row["channel"] in channels:
            frames[nusc.get("sample", row["sample_token"])["scene_token"]][row["channel"]].append(row)
    return {
        scene: {channel: _between_key_frames(rows, sweeps) for channel, rows in by_channel.items()}
        for scene, by_channel in frames.items()
    }


def _between_key_frames(rows: list[Row], sweeps: bool) -> list[Row]:
    rows = sorted(rows, key=lambda row: int(row["timestamp"]))
    keys = [n for n, row in enumerate(rows) if row["is_key_frame"]]
    if not sweeps:
        return [rows[n] for n in keys]
    return rows[keys[0] : keys[-1] + 1] if keys else []


def _build_recording(
    nusc: CheckedNuScenes,
    row: Row,
    channels: Sequence[str],
    images: Sequence[Sequence[Row]],
    instants: Sequence[Instant],
) -> Recording:
    ego_to_world = _ego_poses(nusc, images[0])
    image_times = np.array([[frame["timestamp"] for frame in frames] for frames in images], np.int64)
    return Recording(
        row=row,
        timestamps=image_times[0],
        image_times=image_times,
        ego_to_world=ego_to_world,
        cameras=tuple(_camera(nusc, name, frames, ego_to_world) for name, frames in zip(channels, images, strict=True)),
        sample_data=tuple(tuple(frame["token"] for frame in frames) for frames in images),
        instants=tuple(instants),
    )


def _timestamps(nusc: CheckedNuScenes, rows: list[Row]) -> NDArray[np.int64]:
    times = np.array([row["timestamp"] for row in rows], np.int64)
    repeated = np.flatnonzero(np.diff(times) <= 0)
    if len(repeated):
        row = rows[int(repeated[0]) + 1]
        where = f"{nusc.table_root}/sample_data.json: token {row['token']}"
        raise UserError(f"{where}: another {row['channel']} image of the scene has the same timestamp")
    return times


def _instants(nusc: CheckedNuScenes, rows: Sequence[Row]) -> list[Instant]:
    """The position of each image between the key frames around it, by the times of the camera's images.

    The sample of a sweep is not used: in nuScenes it is the next one, in other data sets the nearest or the last.
    """
    keys = [n for n, row in enumerate(rows) if row["is_key_frame"]]
    instants = [_key_frame_instant(nusc, rows[keys[0]])]
    for first, last in pairwise(keys):
        before, after = rows[first]["sample_token"], rows[last]["sample_token"]
        start, end = (nusc.get("sample", token)["timestamp"] for token in (before, after))
        if end <= start:
            raise UserError(
                f"{nusc.table_root}/sample.json: token {shorten(after)} is not later than {shorten(before)}, "
                f"though its {rows[last]['channel']} image is"
            )
        for row in rows[first + 1 : last]:
            share = min(1.0, max(0.0, (row["timestamp"] - start) / (end - start)))
            instants.append(Instant(before=before, after=after, share=share))
        instants.append(_key_frame_instant(nusc, rows[last]))
    return instants


def _key_frame_instant(nusc: CheckedNuScenes, row: Row) -> Instant:
    sample = row["sample_token"]
    offset = abs(row["timestamp"] - nusc.get("sample", sample)["timestamp"])
    if offset > _MAX_SAMPLE_OFFSET_US:
        raise UserError(
            f"{nusc.table_root}/sample_data.json: token {row['token']}: a key frame must be taken at the time of its "
            f"sample {shorten(sample)}, it is {offset / 1e6:.1f} s away"
        )
    return Instant(before=sample, after=sample, share=0.0)


def _split_by_calibration(nusc: CheckedNuScenes, images: Sequence[Sequence[Row]]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of runs of frames in which every camera has constant calibration."""
    start = 0
    for n in range(1, len(images[0])):
        if not all(_has_same_calibration(nusc, frames[start], frames[n]) for frames in images):
            yield start, n
            start = n
    yield start, len(images[0])


def _has_same_calibration(nusc: CheckedNuScenes, first: Row, other: Row) -> bool:
    if (first.get("width"), first.get("height")) != (other.get("width"), other.get("height")):
        return False
    if first["calibrated_sensor_token"] == other["calibrated_sensor_token"]:
        return True
    rows = [nusc.get("calibrated_sensor", frame["calibrated_sensor_token"]) for frame in (first, other)]
    first_pose, other_pose = rows_to_poses(rows)
    first_intrinsics, other_intrinsics = (_intrinsics(nusc, row) for row in rows)
    return bool(
        np.allclose(first_pose[:3, 3], other_pose[:3, 3], rtol=0, atol=_MAX_SHIFT_M)
        and np.allclose(first_pose[:3, :3], other_pose[:3, :3], rtol=0, atol=_MAX_ROTATION)
        and np.allclose(first_intrinsics, other_intrinsics, rtol=0, atol=_MAX_INTRINSICS_CHANGE_PX)
    )


def _intrinsics(nusc: CheckedNuScenes, calibration: Row) -> Array:
    """Intrinsics ``(3, 3)`` in pixels; raises UserError if the row has another shape."""
    try:
        matrix = np.asarray(calibration["camera_intrinsic"], np.float64)
    except (ValueError, TypeError, OverflowError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3):
        where = f"{nusc.table_root}/calibrated_sensor.json: token {calibration['token']}"
        channel = nusc.get("sensor", calibration["sensor_token"])["channel"]
        raise UserError(f"{where}: camera_intrinsic of {channel} must be 3 rows of 3 numbers")
    return matrix


def _ego_poses(nusc: CheckedNuScenes, frames: Sequence[Row]) -> Array:
    return rows_to_poses([nusc.get("ego_pose", frame["ego_pose_token"]) for frame in frames])


def _camera(nusc: CheckedNuScenes, channel: str, frames: Sequence[Row], ego_to_world: Array) -> Camera:
    calibrations = [nusc.get("calibrated_sensor", frame["calibrated_sensor_token"]) for frame in frames]
    # Ego poses at the camera's own image times, relative to the ego poses of the frames.
    own_to_reference = inverse(ego_to_world) @ _ego_poses(nusc, frames)
    camera_to_ego = rows_to_poses(calibrations)
    if not np.allclose(own_to_reference, np.eye(4), rtol=0, atol=1e-9):
        camera_to_ego = own_to_reference @ camera_to_ego
    elif np.allclose(camera_to_ego, camera_to_ego[0], rtol=0, atol=1e-9):
        camera_to_ego = camera_to_ego[0]
    width, height = _size(nusc, frames[0])
    intrinsics = _intrinsics(nusc, calibrations[0])
    try:
        return Camera(name=channel, width=width, height=height, intrinsics=intrinsics, camera_to_ego=camera_to_ego)
    except UserError as error:
        where = f"{nusc.table_root}/calibrated_sensor.json: token {calibrations[0]['token']}"
        raise UserError(f"{where}: camera_intrinsic of {channel}: {error}") from None


def _size(nusc: CheckedNuScenes, frame: Row) -> tuple[int, int]:
    size = (frame.get("width"), frame.get("height"))
    if not all(type(side) is int and side > 0 for side in size):
        where = f"{nusc.table_root}/sample_data.json: token {frame['token']}"
        raise UserError(f"{where}: needs a width and height in pixels, got {shorten(size[0])} and {shorten(size[1])}")
    return int(frame["width"]), int(frame["height"])
