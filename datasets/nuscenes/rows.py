"""One recording in nuScenes format: image and point cloud files, and the table rows that describe them."""

import bisect
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.domains import DRIVING_DUSK, DRIVING_RAIN
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array, inverse
from driveforge.datasets.nuscenes.annotations import annotation_rows, frame_boxes
from driveforge.datasets.nuscenes.lanes import write_lanes
from driveforge.datasets.nuscenes.lidar import LIDAR_TO_EGO, simulate_scan
from driveforge.datasets.nuscenes.map_raster import place_on_map, write_raster
from driveforge.datasets.nuscenes.poses import pose_fields
from driveforge.datasets.nuscenes.taxonomy import CATEGORIES, Row, TableRows, infer_domain, link_rows, make_token
from driveforge.datasets.scene import Camera, Scene

FrameFunction = Callable[[int, int], NDArray[np.uint8]]
"""Pixels ``(H, W, 3)`` uint8 RGB of (camera index, frame index)."""

# 2020-01-01 00:00:00 UTC in microseconds. A hash of its name spreads the start of each recording over the next nine
# years, because the devkit cannot list scenes that start at the same time.
_EPOCH_US = 1_577_836_800_000_000
_SPREAD_HEX_DIGITS = 12
VEHICLE = "driveforge"
_JPEG_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_DOMAIN_WORDS = {DRIVING_DUSK: "Dusk", DRIVING_RAIN: "Rain"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Channel:
    """A sensor over T frames; ``ego_to_world`` ``(T, 4, 4)`` are the ego poses of its sample_data."""

    name: str
    modality: str
    suffix: str
    to_ego: Array
    ego_to_world: Array
    intrinsics: list[list[float]]
    width: int = 0
    height: int = 0


def write_recording(
    root: Path, scene: Scene, frame: FrameFunction, *, keys: Sequence[int] | None = None, for_training: bool = False
) -> TableRows:
    """Write images, point clouds, map raster and lanes of ``scene`` under ``root``; returns its rows by table.

    ``keys`` are the key frames, with boxes and a LIDAR_TOP point cloud: every fifth frame and the last by default. With
    ``for_training``, every frame has a point cloud, and every box at least one point, since trainers drop boxes without
    points. The scene is named after its clip id. Same scene and pixels, same bytes. Raises UserError if the tables
    cannot represent the scene.
    """
    if obstacle := find_obstacle(scene):
        raise UserError(f"{scene.clip_id}: {obstacle}")
    scene = place_on_map(scene)
    keys = key_frames(scene.num_frames, 5) if keys is None else list(keys)
    parts = [_context_rows(scene, keys)]
    for n, camera in enumerate(scene.cameras):
        images = _encode_jpegs(scene, camera, functools.partial(frame, n))
        parts.append(_channel_rows(root, scene, keys, _camera_channel(scene, camera), images))
    boxes = frame_boxes(scene, range(scene.num_frames) if for_training else keys)
    scans = [simulate_scan(at.boxes_to_ego, at.sizes, hit_all=for_training) for at in boxes]
    files = ((at.t, points.astype("<f4").tobytes()) for at, (points, _) in zip(boxes, scans, strict=True))
    parts.append(_channel_rows(root, scene, keys, _lidar_channel(scene), files))
    annotated = [(at, hits) for at, (_, hits) in zip(boxes, scans, strict=True) if at.t in keys]
    parts.append(annotation_rows(scene, annotated))
    write_raster(root / parts[0]["map"][0]["filename"], scene)
    write_lanes(root, scene.clip_id, scene.lanes)
    tables = dict.fromkeys(table for part in parts for table in part)
    return {table: [row for part in parts for row in part.get(table, [])] for table in tables}


def key_frames(num_frames: int, every: int) -> list[int]:
    """Every ``every``-th frame from the first, and the last, so that every sweep is between key frames."""
    return sorted({*range(0, num_frames, every), num_frames - 1})


def find_obstacle(scene: Scene) -> str:
    """Why nuScenes tables cannot represent ``scene``; "" if they can."""
    for camera in scene.cameras:
        if scene.ego_to_world is None or not camera.is_calibrated:
            return f"nuScenes tables need an ego pose and calibration, which {camera.name} lacks"
    unknown = sorted({track.category for track in scene.tracks} - set(CATEGORIES))
    return f"{shorten(unknown[0])!r} is not a nuScenes category" if unknown else ""


def _context_rows(scene: Scene, keys: list[int]) -> TableRows:
    name = scene.clip_id
    samples: list[Row] = [
        {"token": make_token(name, "sample", t), "timestamp": _microseconds(scene, t), "scene_token": make_token(name)}
        for t in keys
    ]
    log, mask = make_token(name, "log"), make_token(name, "map")
    date = datetime.fromtimestamp(samples[0]["timestamp"] // 1_000_000, UTC).date().isoformat()
    return {
        "log": [{"token": log, "logfile": name, "vehicle": VEHICLE, "date_captured": date, "location": VEHICLE}],
        "map": [
            {"token": mask, "log_tokens": [log], "category": "semantic_prior", "filename": f"maps/{mask}.png"}
        ],
        "scene": [
            {
                "token": make_token(name),
                "log_token": log,
                "nbr_samples": len(keys),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": name,
                "description": _description(scene),
            }
        ],
        "sample": link_rows(samples),
    }  # fmt: skip


def _description(scene: Scene) -> str:
    """The caption, with a prefix like "Rain, " if the domain cannot be inferred from it."""
    if infer_domain(scene.caption) == scene.domain or scene.domain not in _DOMAIN_WORDS:
        return scene.caption
    return f"{_DOMAIN_WORDS[scene.domain]}, {scene.caption}"


def _camera_channel(scene: Scene, camera: Camera) -> _Channel:
    """If the extrinsics vary, the first ones are kept and the ego poses of the camera include the variation."""
    assert scene.ego_to_world is not None and camera.camera_to_ego is not None and camera.intrinsics is not None
    to_ego, ego_to_world = camera.camera_to_ego, scene.ego_to_world
    if to_ego.ndim == 3:
        to_ego = to_ego[0]
        ego_to_world = scene.camera_to_world(camera) @ inverse(to_ego)
    return _Channel(
        name=camera.name,
        modality="camera",
        suffix="jpg",
        to_ego=to_ego,
        ego_to_world=ego_to_world,
        intrinsics=camera.intrinsics.tolist(),
        width=camera.width,
        height=camera.height,
    )


def _lidar_channel(scene: Scene) -> _Channel:
    assert scene.ego_to_world is not None
    return _Channel(
        name="LIDAR_TOP",
        modality="lidar",
        suffix="pcd.bin",
        to_ego=LIDAR_TO_EGO,
        ego_to_world=scene.ego_to_world,
        intrinsics=[],
    )


def _encode_jpegs(
    scene: Scene, camera: Camera, image: Callable[[int], NDArray[np.uint8]]
) -> Iterator[tuple[int, bytes]]:
    for t in range(scene.num_frames):
        pixels, expected = image(t), (camera.height, camera.width, 3)
        if pixels.shape != expected or pixels.dtype != np.uint8:
            where = f"{scene.clip_id}: frame {t} of {camera.name}"
            raise UserError(f"{where} must be uint8 {expected}, got {pixels.dtype} {pixels.shape}")
        yield t, cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _JPEG_OPTIONS)[1].tobytes()


def _channel_rows(
    root: Path, scene: Scene, keys: list[int], channel: _Channel, files: Iterable[tuple[int, bytes]]
) -> TableRows:
    """Write the files of a channel; returns its rows of sensor, calibrated_sensor, sample_data and ego_pose.

    As in nuScenes, an ego pose has the token of its sample_data, and a sweep belongs to the next key frame.
    """
    name, calibration = scene.clip_id, make_token(scene.clip_id, channel.name)
    frames, poses = [], []
    for t, content in files:
        frame_token, time = make_token(name, channel.name, t), _microseconds(scene, t)
        folder = "samples" if t in keys else "sweeps"
        filename = f"{folder}/{channel.name}/{name}__{channel.name}__{time}.{channel.suffix}"
        _write_file(root / filename, content)
        poses.append({"token": frame_token, "timestamp": time, **pose_fields(channel.ego_to_world[t])})
        frames.append(
            {
                "token": frame_token,
                "sample_token": make_token(name, "sample", keys[bisect.bisect_left(keys, t)]),
                "ego_pose_token": frame_token,
                "calibrated_sensor_token": calibration,
                "timestamp": time,
                "fileformat": channel.suffix.split(".")[0],
                "is_key_frame": t in keys,
                "height": channel.height,
                "width": channel.width,
                "filename": filename,
            }
        )
    sensor = make_token("sensor", channel.name)
    extrinsics = {**pose_fields(channel.to_ego), "camera_intrinsic": channel.intrinsics}
    return {
        "sensor": [{"token": sensor, "channel": channel.name, "modality": channel.modality}],
        "calibrated_sensor": [{"token": calibration, "sensor_token": sensor, **extrinsics}],
        "ego_pose": poses,
        "sample_data": link_rows(frames),
    }


def _microseconds(scene: Scene, t: int) -> int:
    start = _EPOCH_US + int(make_token(scene.clip_id, "start")[:_SPREAD_HEX_DIGITS], 16)
    return start + round(float(scene.timestamps[t]) * 1e6)


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
