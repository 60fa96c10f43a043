"""The frames of one nuScenes scene: which images, when, from where, and the boxes at those instants."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.errors import UserError
from datasets.geometry import Array, inverse, pose
from datasets.nuscenes_devkit import CheckedNuScenes
from datasets.nuscenes_poses import poses_of, rotation_of
from datasets.nuscenes_taxonomy import Row
from datasets.scene import Camera, Track


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """One scene over the N frames of its reference camera (the first), with every other camera's nearest image.

    ``timestamps`` ``(N,)`` are int64 microseconds; ``sample_data`` holds N tokens a camera; each camera's
    ``camera_to_ego`` is ``(4, 4)``, or ``(N, 4, 4)`` where it fires at other instants than the reference.
    """

    row: Row
    timestamps: NDArray[np.int64]
    ego_to_world: Array
    cameras: tuple[Camera, ...]
    sample_data: tuple[tuple[str, ...], ...]


def read_recording(nusc: CheckedNuScenes, row: Row, data: dict[str, list[Row]], channels: Sequence[str]) -> Recording:
    """The frames of scene ``row``; ``data`` holds the sample_data rows of each channel, as of ``frames_by_scene``."""
    for channel in channels:
        if not data.get(channel):
            present = ", ".join(sorted(c for c in data if data[c])) or "none of those asked for"
            raise UserError(
                f"{row['name']} (scene.json token {row['token']}) has no images of {channel}; it has {present}"
            )
    reference = data[channels[0]]
    times = _timestamps(nusc, reference)
    ego_to_world = _ego_poses(nusc, reference)
    cameras, tokens = [], []
    for channel in channels:
        rows = data[channel]
        nearest = np.abs(_timestamps(nusc, rows)[None] - times[:, None]).argmin(1)
        frames = [rows[n] for n in nearest]
        cameras.append(_camera(nusc, channel, frames, ego_to_world))
        tokens.append(tuple(frame["token"] for frame in frames))
    return Recording(
        row=row, timestamps=times, ego_to_world=ego_to_world, cameras=tuple(cameras), sample_data=tuple(tokens)
    )


def frames_by_scene(nusc: CheckedNuScenes, channels: Sequence[str], sweeps: bool) -> dict[str, dict[str, list[Row]]]:
    """sample_data rows by scene token and channel, in order of time.

    Sweeps before the first key frame and behind the last are left out: no pair of annotations encloses them.
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


def read_tracks(nusc: CheckedNuScenes, frames: Sequence[str]) -> tuple[Track, ...]:
    """Tracks over T reference-camera frames (sample_data tokens), interpolated between key frames by the devkit.

    At a sweep a box is present only where both enclosing key frames annotate it; the devkit would hold it still.
    """
    boxes: dict[str, dict[int, tuple[Array, Array, Array]]] = defaultdict(dict)
    categories: dict[str, str] = {}
    for t, token in enumerate(frames):
        known = _annotated_on_both_sides(nusc, nusc.get("sample_data", token))
        for box in nusc.get_boxes(token):
            instance = nusc.get("sample_annotation", box.token)["instance_token"]
            if instance in known:
                boxes[instance][t] = (box.center, box.orientation.elements, box.wlh)
                categories[instance] = box.name
    return tuple(_track(instance, categories[instance], seen, len(frames)) for instance, seen in boxes.items())


def _between_key_frames(rows: list[Row], sweeps: bool) -> list[Row]:
    rows = sorted(rows, key=lambda row: int(row["timestamp"]))
    keys = [n for n, row in enumerate(rows) if row["is_key_frame"]]
    if not sweeps:
        return [rows[n] for n in keys]
    return rows[keys[0] : keys[-1] + 1] if keys else []


def _timestamps(nusc: CheckedNuScenes, rows: list[Row]) -> NDArray[np.int64]:
    times = np.array([row["timestamp"] for row in rows], np.int64)
    repeated = np.flatnonzero(np.diff(times) <= 0)
    if len(repeated):
        row = rows[int(repeated[0]) + 1]
        where = f"{nusc.table_root}/sample_data.json: token {row['token']}"
        raise UserError(f"{where}: another {row['channel']} image of the scene has the same timestamp")
    return times


def _ego_poses(nusc: CheckedNuScenes, frames: list[Row]) -> Array:
    return poses_of([nusc.get("ego_pose", frame["ego_pose_token"]) for frame in frames])


def _camera(nusc: CheckedNuScenes, channel: str, frames: list[Row], ego_to_world: Array) -> Camera:
    calibration = nusc.get("calibrated_sensor", frames[0]["calibrated_sensor_token"])
    own_to_reference = inverse(ego_to_world) @ _ego_poses(nusc, frames)
    (camera_to_ego,) = poses_of([calibration])
    if not np.allclose(own_to_reference, np.eye(4), rtol=0, atol=1e-9):
        camera_to_ego = own_to_reference @ camera_to_ego
    width, height = _size(nusc, frames[0])
    try:
        intrinsics = np.asarray(calibration["camera_intrinsic"], np.float64)
        return Camera(name=channel, width=width, height=height, intrinsics=intrinsics, camera_to_ego=camera_to_ego)
    except (ValueError, TypeError) as error:
        where = f"{nusc.table_root}/calibrated_sensor.json: token {calibration['token']}"
        raise UserError(f"{where}: camera_intrinsic of {channel}: {error}") from None


def _size(nusc: CheckedNuScenes, frame: Row) -> tuple[int, int]:
    size = (frame.get("width"), frame.get("height"))
    if not all(isinstance(side, int) and side > 0 for side in size):
        where = f"{nusc.table_root}/sample_data.json: token {frame['token']}"
        raise UserError(f"{where}: needs a width and height in pixels, got {size[0]} and {size[1]}")
    return int(frame["width"]), int(frame["height"])


def _annotated_on_both_sides(nusc: CheckedNuScenes, frame: Row) -> set[str]:
    sample = nusc.get("sample", frame["sample_token"])
    known = _instances(nusc, sample)
    if frame["is_key_frame"]:
        return known
    return known & _instances(nusc, nusc.get("sample", sample["prev"])) if sample["prev"] else set()


def _instances(nusc: CheckedNuScenes, sample: Row) -> set[str]:
    return {nusc.get("sample_annotation", token)["instance_token"] for token in sample["anns"]}


def _track(instance: str, category: str, seen: dict[int, tuple[Array, Array, Array]], num_frames: int) -> Track:
    centres, quaternions, sizes = (np.array(column) for column in zip(*seen.values(), strict=True))
    frames = list(seen)
    box_to_world = np.tile(np.eye(4), (num_frames, 1, 1))
    box_to_world[frames] = pose(rotation_of(quaternions), centres)
    present = np.zeros(num_frames, np.bool_)
    present[frames] = True
    width, length, height = np.median(sizes, axis=0)
    size = np.array([length, width, height])
    return Track(id=instance, category=category, size=size, box_to_world=box_to_world, present=present)
