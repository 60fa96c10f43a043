"""Writing of scenes as ClipGT."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial.transform import Rotation

from driveforge.datasets.clipgt.cameras import rig_json
from driveforge.datasets.clipgt.companion import COMPANION_SUFFIX, companion_json
from driveforge.datasets.clipgt.lines import lane_rows
from driveforge.datasets.clipgt.motion import Times
from driveforge.datasets.clipgt.schemas import SCHEMAS
from driveforge.datasets.clipgt.vocabulary import category_to_clipgt, file_name, sensor_name
from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.geometry import Array, inverse
from driveforge.datasets.scene import Scene
from driveforge.datasets.select_frames import select_frames

_VERSION = 1
# No timestamps of their own for calibrations that hold for the whole clip.
_STATIC = -1


def write_clipgt(folder: Path, scene: Scene, videos: Mapping[str, bytes] | None = None) -> None:
    """Write ``scene`` to ``folder`` as ClipGT: tables, camera times, caption and what ClipGT has no column for.

    Held frames are left out. ``videos`` are MP4 files by camera name, with the frames of the scene, which are stored
    as they are. The same scene gives the same bytes. Raises UserError if the ego pose or the calibration of a camera
    is unknown, or if two frames fall on the same microsecond.
    """
    scene = _without_held_frames(scene)
    missing = missing_for_clipgt(scene)
    if missing:
        raise UserError(f"{scene.clip_id}: cannot be written as ClipGT, it has no {missing}")
    assert scene.ego_to_world is not None
    times, world = microseconds(scene), inverse(scene.ego_to_world[0])
    rows = {
        "calibration_estimate": _calibration_rows(scene),
        "egomotion_estimate": _egomotion_rows(scene, times, world),
        "obstacle": _obstacle_rows(scene, times, world),
        **lane_rows(scene.lanes, world, scene.clip_id),
    }
    for name, records in rows.items():
        _write_table(folder / f"{scene.clip_id}.{name}.parquet", records, SCHEMAS[name])
    camera_times = json.dumps([{"timestamp": time} for time in times.tolist()]).encode() + b"\n"
    for camera in scene.cameras:
        stem = f"{scene.clip_id}.{file_name(sensor_name(camera.name))}"
        write_atomic(folder / f"{stem}.json", camera_times)
        if videos and camera.name in videos:
            write_atomic(folder / f"{stem}.mp4", videos[camera.name])
    write_atomic(folder / f"{scene.clip_id}.prompt.txt", scene.caption.encode() + b"\n")
    write_atomic(folder / f"{scene.clip_id}.{COMPANION_SUFFIX}", companion_json(scene))


def missing_for_clipgt(scene: Scene) -> str:
    """What ClipGT needs and ``scene`` lacks, or ""."""
    if scene.ego_to_world is None:
        return "ego pose"
    unknown = [camera.name for camera in scene.cameras if not camera.is_calibrated]
    return f"calibration of {', '.join(unknown)}" if unknown else ""


def microseconds(scene: Scene) -> Times:
    """The frame times ``(T,)`` in whole microseconds; raises UserError if two are equal."""
    times: Times = np.rint(scene.timestamps * 1e6).astype(np.int64)
    if (np.diff(times) < 1).any():
        raise UserError(f"{scene.clip_id}: two frames fall on the same microsecond, which ClipGT cannot tell apart")
    return times


def _without_held_frames(scene: Scene) -> Scene:
    return select_frames(scene, np.arange(scene.num_frames - scene.held_frames))


def _calibration_rows(scene: Scene) -> list[dict[str, Any]]:
    value = {"name": "driveforge", "rig_json": rig_json(scene.cameras)}
    key = {"clip_id": scene.clip_id, "timestamp_micros": _STATIC}
    return [{"key": key, "calibration_estimate": value, "version": _VERSION}]


def _egomotion_rows(scene: Scene, times: Times, world: Array) -> list[dict[str, Any]]:
    assert scene.ego_to_world is not None
    return [
        {
            "key": {"clip_id": scene.clip_id, "timestamp_micros": time},
            "egomotion_estimate": {"name": "driveforge", **_pose_fields(pose, "location")},
            "version": _VERSION,
        }
        for time, pose in zip(times.tolist(), world @ scene.ego_to_world, strict=True)
    ]


def _obstacle_rows(scene: Scene, times: Times, world: Array) -> list[dict[str, Any]]:
    """A row for every present box, by time and in the order of the tracks."""
    boxes = [(track, world @ track.box_to_world) for track in scene.tracks]
    return [
        {
            "key": {"clip_id": scene.clip_id, "timestamp_micros": time, "label_class_id": "driveforge"},
            "obstacle": {
                "trackline_id": track.id,
                "size": dict(zip("xyz", track.size.tolist(), strict=True)),
                "category": category_to_clipgt(track.category),
                **_pose_fields(poses[frame], "center"),
            },
            "version": _VERSION,
        }
        for frame, time in enumerate(times.tolist())
        for track, poses in boxes
        if track.present[frame]
    ]


def _pose_fields(pose: Array, position: str) -> dict[str, dict[str, float]]:
    quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True)
    return {
        position: dict(zip("xyz", pose[:3, 3].tolist(), strict=True)),
        "orientation": dict(zip("xyzw", quaternion.tolist(), strict=True)),
    }


def _write_table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="snappy")
    write_atomic(path, buffer.getvalue().to_pybytes())
