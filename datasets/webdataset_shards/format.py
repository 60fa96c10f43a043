"""The shard format: conversion between a Clip and the members of a WebDataset sample.

==================  ===================================================================================================
``json``            described by ``sample.schema.json`` next to this file, and in docs/data-formats.md
``<camera>.mp4``    one H.264 video per camera, T frames
``poses.npy``       ``ego_to_world`` (T, 4, 4) float64 m; (0, 4, 4) if there is no ego pose
``tracks.npz``      ``ids, categories`` (N,) str, ``sizes`` (N, 3) m, ``box_to_world`` (N, T, 4, 4), ``present`` (N, T),
                    ``lidar_points`` (N, T) int32 and ``annotated_attributes`` (N, T) str of the recording
``annotations.npz`` the arrays of ``BoxAnnotations``
``ego_motion.npz``  the arrays of ``EgoMotion``
``thumb.jpg``       the middle frame of the first camera, at most 320 px wide
``depth.npz``,      only of simulated scenes: an array (T, H, W) uint16 for each camera, see
``instances.npz``   ``DepthAndInstances``
==================  ===================================================================================================

Every key has the same type in all samples, because loaders infer types from the first few: what is unknown is "", -1 or
an empty list, never null, and lists of records that may be empty are strings of JSON. Frames and axes are those of
``datasets/geometry.py``. Nothing is pickled, and the same clip gives the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import parse_json
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.scene_json import camera_to_json, scene_from_json
from driveforge.datasets.video import decode_mp4, encode_mp4
from driveforge.datasets.weather import weather_and_time
from driveforge.datasets.webdataset_shards.arrays import (
    pack_annotations,
    pack_array,
    pack_ego_motion,
    pack_tracks,
    unpack_array,
    unpack_tracks,
)

SCHEMA_VERSION = 3
# Version 1 stored lanes as a list and fixed extrinsics as (4, 4). Version 2 had null for unknown calibration, no
# poses.npy without an ego pose, and neither annotations.npz, ego_motion.npz nor what only the recording knows.
_SUPPORTED_VERSIONS = (1, 2, 3)
EXTENSIONS = ("jpg", "json", "mp4", "npy", "npz")
THUMB_WIDTH = 320

# Scene fields in the json member; poses and tracks are other members.
_SCENE_KEYS = ("clip_id", "domain", "caption", "split", "source", "held_frames", "recording_token")


def clip_members(clip: Clip, metadata: Mapping[str, Any], *, crf: int = 18) -> dict[str, bytes]:
    """The members of the sample of ``clip``, by name; ``metadata`` is stored in ``json``."""
    scene = clip.scene
    rate = scene.frame_rate or 1.0
    members = scene_members(scene, metadata)
    for camera, frames in zip(scene.cameras, clip.frames, strict=True):
        members[video_member(camera.name)] = encode_mp4(frames, rate, crf=crf)
    if len([name for name in members if name.endswith(".mp4")]) != len(scene.cameras):
        raise UserError(
            f"{scene.clip_id}: camera names must differ in more than case, got {[c.name for c in scene.cameras]}"
        )
    members["thumb.jpg"] = _thumbnail(clip.frames[0, scene.num_frames // 2])
    return members


# The members without pixels that every sample has.
SCENE_MEMBERS = ("annotations.npz", "ego_motion.npz", "json", "poses.npy", "tracks.npz")


def scene_members(scene: Scene, metadata: Mapping[str, Any]) -> dict[str, bytes]:
    """The members of a sample that do not hold pixels."""
    return {
        "json": dump_json(_scene_record(scene) | {"metadata": dict(metadata)}),
        "poses.npy": pack_array(np.zeros((0, 4, 4)) if scene.ego_to_world is None else scene.ego_to_world),
        "tracks.npz": pack_tracks(scene),
        "annotations.npz": pack_annotations(scene),
        "ego_motion.npz": pack_ego_motion(scene),
    }


def clip_from_members(members: Mapping[str, bytes], where: str) -> tuple[Clip, dict[str, Any]]:
    """The clip of a sample and its metadata; raises UserError naming ``where`` and a missing or invalid member."""
    scene, metadata = scene_from_members(members, where)
    views = []
    for camera in scene.cameras:
        member = video_member(camera.name)
        frames = decode_mp4(_require_member(members, member, where), f"{where}: {member}")[0]
        if frames.shape != (scene.num_frames, camera.height, camera.width, 3):
            raise UserError(
                f"{where}: {member} has {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}, "
                f"but its json says {scene.num_frames} of {camera.width}x{camera.height}"
            )
        views.append(frames)
    try:
        return Clip(scene=scene, frames=np.stack(views)), metadata
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def roundtrip_clip(clip: Clip) -> Clip:
    """``clip`` after writing to a shard and reading back, with the loss of H.264 compression."""
    rate = clip.scene.frame_rate or 1.0
    return Clip(scene=clip.scene, frames=np.stack([decode_mp4(encode_mp4(view, rate))[0] for view in clip.frames]))


def extend_metadata(content: bytes, metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The content of a ``json`` member with ``metadata`` added; raises UserError naming ``where`` if it is damaged."""
    record_json = load_json(content, f"{where}: json")
    return record_json | {"metadata": record_json.get("metadata", {}) | dict(metadata)}


def scene_from_members(members: Mapping[str, bytes], where: str) -> tuple[Scene, dict[str, Any]]:
    """The scene and metadata of a sample, from ``json``, ``poses.npy`` and ``tracks.npz``, without decoding video."""
    record_json = load_json(_require_member(members, "json", where), f"{where}: json")
    version = record_json.get("schema_version")
    if type(version) is not int or version not in _SUPPORTED_VERSIONS:
        raise UserError(f"{where}: json has schema_version {shorten(version)}, but only 1 to 3 are supported")
    record = {key: record_json[key] for key in (*_SCENE_KEYS, "timestamps", "lanes") if key in record_json}
    cameras = record_json.get("cameras", [])
    record["cameras"] = [_parse_camera(entry) for entry in cameras] if isinstance(cameras, list) else cameras
    if isinstance(record.get("lanes"), str):
        record["lanes"] = parse_json(record["lanes"].encode(), f"{where}: json: lanes")
    scene = scene_from_json(record, f"{where}: json")
    _check_summary(record_json, scene, f"{where}: json")
    try:
        # Older samples without an ego pose lack the member.
        has_poses = version == SCHEMA_VERSION or "poses.npy" in members
        poses = unpack_array(_require_member(members, "poses.npy", where)) if has_poses else np.zeros((0, 4, 4))
        tracks = unpack_tracks(_require_member(members, "tracks.npz", where))
        fields = {name: getattr(scene, name) for name in (*_SCENE_KEYS, "timestamps", "cameras", "lanes")}
        if (count := record_json.get("num_objects", len(tracks))) != len(tracks):
            raise UserError(f"json: num_objects is {shorten(count)}, but tracks.npz has {len(tracks)}")
        has_pose = poses.shape != (0, 4, 4)
        scene = Scene(**fields, ego_to_world=poses if has_pose else None, tracks=tracks)
        return scene, dict(record_json.get("metadata", {}))
    except Exception as error:  # numpy and zipfile raise exceptions of many types
        raise UserError(f"{where}: {shorten(error, 200)}") from error


def _check_summary(record_json: Mapping[str, Any], scene: Scene, where: str) -> None:
    """Check redundant keys, which other readers may use, against the scene."""
    expected = {"num_frames": scene.num_frames, "frame_rate": scene.frame_rate}
    for key, value in expected.items():
        found = record_json.get(key, value)
        if type(found) not in (int, float) or not abs(found - value) <= 1e-6 * max(1.0, value):
            raise UserError(f"{where}: {key} is {shorten(found)}, but the timestamps give {value:g}")
    for number, (camera, entry) in enumerate(zip(scene.cameras, record_json["cameras"], strict=True)):
        if entry.get("member", video_member(camera.name)) != video_member(camera.name):
            raise UserError(f"{where}: cameras[{number}].member must be {video_member(camera.name)}")
    if not isinstance(record_json.get("metadata", {}), dict):
        raise UserError(f"{where}: metadata must be an object, got {shorten(json.dumps(record_json['metadata']))}")


def video_member(camera_name: str) -> str:
    return f"{camera_name.lower()}.mp4"


def dump_json(record: Mapping[str, Any]) -> bytes:
    """One line of JSON, keys in the given order; raises UserError for NaN, infinity and types that JSON lacks."""
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise UserError(f"metadata cannot be written as JSON: {error}") from error


def load_json(content: bytes, where: str) -> dict[str, Any]:
    record = parse_json(content, where)
    if not isinstance(record, dict):
        raise UserError(f"{where}: must be a JSON object, got {type(record).__name__}")
    return record


def _scene_record(scene: Scene) -> dict[str, Any]:
    weather, time_of_day = weather_and_time(scene)
    return {
        "schema_version": SCHEMA_VERSION,
        **{key: getattr(scene, key) for key in _SCENE_KEYS},
        "derived_from_split": scene.split,
        "weather": weather,
        "time_of_day": time_of_day,
        "frame_rate": scene.frame_rate,
        "num_frames": scene.num_frames,
        "num_objects": len(scene.tracks),
        "timestamps": scene.timestamps.tolist(),
        "cameras": [_camera_record(camera, scene.num_frames) for camera in scene.cameras],
        "lanes": json.dumps([{"kind": lane.kind, "points": lane.points.tolist()} for lane in scene.lanes]),
    }


def _camera_record(camera: Camera, num_frames: int) -> dict[str, Any]:
    extrinsics = camera.camera_to_ego
    if extrinsics is not None and extrinsics.ndim == 2:
        camera = replace(camera, camera_to_ego=np.broadcast_to(extrinsics, (num_frames, 4, 4)))
    record = {key: [] if value is None else value for key, value in camera_to_json(camera).items()}
    return {
        **record,
        "image_times_us": record.get("image_times_us", [-1] * num_frames),
        "image_tokens": record.get("image_tokens", [""] * num_frames),
        "member": video_member(camera.name),
    }


def _parse_camera(entry: object) -> object:
    """The ``entry`` of a camera in the form of ``scene_from_json``: without what is unknown, and without the member.

    Constant extrinsics become one (4, 4).
    """
    if not isinstance(entry, dict):
        return entry
    unknown: dict[str, list[object]] = {"intrinsics": [], "camera_to_ego": []}
    for key, value in (("image_times_us", -1), ("image_tokens", "")):
        unknown[key] = [value] * len(entry[key]) if isinstance(entry.get(key), list) else []
    fields = {key: value for key, value in entry.items() if key != "member" and value != unknown.get(key)}
    poses = fields.get("camera_to_ego")
    if isinstance(poses, list) and poses and isinstance(poses[0], list) and len(poses[0]) == 4:
        is_stack = isinstance(poses[0][0], list)
        if is_stack and all(pose == poses[0] for pose in poses):
            fields["camera_to_ego"] = poses[0]
    return fields


def _thumbnail(image: NDArray[np.uint8]) -> bytes:
    height, width = image.shape[:2]
    if width > THUMB_WIDTH:
        size = (THUMB_WIDTH, max(1, round(height * THUMB_WIDTH / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def _require_member(members: Mapping[str, bytes], name: str, where: str) -> bytes:
    if name not in members:
        raise UserError(f"{where}: member {name} is missing; the sample has {', '.join(sorted(members)) or 'none'}")
    return members[name]
