"""Scenes as JSON: ``scene.json`` of clip folders, plans and requests. The round trip is exact, floats included.

=================  ===================================================================================================
``schema_version`` 2; version 1 lacked the keys that are marked "since 2", which may be left out
``clip_id``        a-z, 0-9, '-' and '_'
``domain``         group of clips, such as ``driving-day``
``caption``        free text
``timestamps``     [T] seconds, strictly increasing
``ego_to_world``   [T, 4, 4] ego pose in the world frame, translation in m; null if unknown
``cameras``        ``name``; ``width``, ``height`` in px; ``intrinsics`` [3, 3] in px; ``camera_to_ego`` [4, 4] or
                   [T, 4, 4], translation in m; null if unknown. Since 2: ``image_times_us`` [T] integers,
                   microseconds since 1970; ``image_tokens`` [T] strings
``tracks``         ``id``, ``category``; ``size`` [3] length, width, height in m; ``box_to_world`` [T, 4, 4] pose of the
                   box center, translation in m; ``present`` [T] booleans. Since 2: ``lidar_points`` [T] integers, -1
                   if unknown; ``attributes`` [T] strings, "" if unknown
``lanes``          ``kind`` (boundary, divider, crossing); ``points`` [N, 3] in the world frame, in m
``source``         recording that the clip comes from; "" if unknown
``split``          data split; "" if unknown
``held_frames``    number of padding frames at the end
``recording_token`` since 2: token of the recording in its tables; "" if unknown
=================  ===================================================================================================

Frames and axes are those of ``datasets/geometry.py``.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.scene import Camera, Lane, Scene, Track

SCHEMA_VERSION = 2
_SUPPORTED_VERSIONS = (1, 2)

_SCENE_KEYS = (
    "schema_version", "clip_id", "domain", "caption", "timestamps", "ego_to_world", "cameras", "tracks", "lanes",
    "source", "split", "held_frames", "recording_token",
)  # fmt: skip
_CAMERA_KEYS = ("name", "width", "height", "intrinsics", "camera_to_ego", "image_times_us", "image_tokens")
_TRACK_KEYS = ("id", "category", "size", "box_to_world", "present", "lidar_points", "attributes")
_LANE_KEYS = ("kind", "points")
_STRING_KEYS = ("clip_id", "domain", "caption", "source", "split", "name", "id", "category", "kind", "recording_token")
_INTEGER_KEYS = ("width", "height", "held_frames")

RecordT = TypeVar("RecordT", Camera, Track, Lane, Scene)


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """``scene`` as lists, numbers and strings, for ``scene.json``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "clip_id": scene.clip_id,
        "domain": scene.domain,
        "caption": scene.caption,
        "timestamps": scene.timestamps.tolist(),
        "ego_to_world": None if scene.ego_to_world is None else scene.ego_to_world.tolist(),
        "cameras": [camera_to_json(camera) for camera in scene.cameras],
        "tracks": [_track_to_json(track) for track in scene.tracks],
        "lanes": [{"kind": lane.kind, "points": lane.points.tolist()} for lane in scene.lanes],
        "source": scene.source,
        "split": scene.split,
        "held_frames": scene.held_frames,
        "recording_token": scene.recording_token,
    }


def camera_to_json(camera: Camera) -> dict[str, Any]:
    """``camera`` as lists, numbers and strings; calibration is None, and times and tokens are missing if unknown."""
    return {
        "name": camera.name,
        "width": camera.width,
        "height": camera.height,
        "intrinsics": None if camera.intrinsics is None else camera.intrinsics.tolist(),
        "camera_to_ego": None if camera.camera_to_ego is None else camera.camera_to_ego.tolist(),
        **({} if camera.image_times_us is None else {"image_times_us": camera.image_times_us.tolist()}),
        **({} if camera.image_tokens is None else {"image_tokens": list(camera.image_tokens)}),
    }


def _track_to_json(track: Track) -> dict[str, Any]:
    return {
        "id": track.id,
        "category": track.category,
        "size": track.size.tolist(),
        "box_to_world": track.box_to_world.tolist(),
        "present": track.present.tolist(),
        **({} if track.lidar_points is None else {"lidar_points": track.lidar_points.tolist()}),
        **({} if track.attributes is None else {"attributes": list(track.attributes)}),
    }


def scene_from_json(record: Mapping[str, Any], where: str = "") -> Scene:
    """The Scene of ``record``, the content of the file ``where``.

    Required keys are ``clip_id``, ``domain``, ``timestamps`` and ``cameras``; ``name``, ``width`` and ``height`` of a
    camera; and every key of a track or lane that is not since version 2. Raises UserError naming ``where`` and the key
    that is missing, unknown or invalid.
    """
    fields = _check_keys(record, _SCENE_KEYS, ("clip_id", "domain", "timestamps", "cameras"), where)
    version = fields.pop("schema_version", SCHEMA_VERSION)
    if type(version) is not int or version not in _SUPPORTED_VERSIONS:
        raise UserError(f"{_join_key(where, 'schema_version')} is {shorten(version)}, but only 1 and 2 are supported")
    cameras = [
        _build_record(Camera, entry, _CAMERA_KEYS, _CAMERA_KEYS[:3], _join_key(where, f"cameras[{i}]"))
        for i, entry in enumerate(_check_list(fields["cameras"], _join_key(where, "cameras")))
    ]
    tracks = [
        _build_record(Track, entry, _TRACK_KEYS, _TRACK_KEYS[:5], _join_key(where, f"tracks[{i}]"))
        for i, entry in enumerate(_check_list(fields.get("tracks", []), _join_key(where, "tracks")))
    ]
    lanes = [
        _build_record(Lane, entry, _LANE_KEYS, _LANE_KEYS, _join_key(where, f"lanes[{i}]"))
        for i, entry in enumerate(_check_list(fields.get("lanes", []), _join_key(where, "lanes")))
    ]
    entries = fields | {"cameras": tuple(cameras), "tracks": tuple(tracks), "lanes": tuple(lanes)}
    return _build_record(Scene, entries, _SCENE_KEYS, (), where)


def read_scene_json(path: Path) -> Scene:
    """The Scene in the file ``path``; raises UserError if the file is missing or invalid."""
    return scene_from_json(read_json(path), str(path))


def _build_record(
    record_type: type[RecordT], entry: object, known: Sequence[str], required: Sequence[str], where: str
) -> RecordT:
    """A ``record_type`` from the fields in ``entry``; its own errors are prefixed with ``where``."""
    fields = _check_keys(entry, known, required, where)
    for key, value in fields.items():
        if key in _STRING_KEYS and not isinstance(value, str):
            raise UserError(f"{_join_key(where, key)} must be a string, got {type(value).__name__}")
        if key in _INTEGER_KEYS and type(value) is not int:
            raise UserError(f"{_join_key(where, key)} must be an integer, got {shorten(json.dumps(value))}")
    try:
        return record_type(**fields)
    except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{where}: {shorten(error, 200)}" if where else shorten(error, 200)) from error


def _check_keys(entry: object, known: Sequence[str], required: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise UserError(f"{where or 'a scene'} must be a JSON object, got {type(entry).__name__}")
    for key in required:
        if key not in entry:
            raise UserError(f"{_join_key(where, key)} is missing")
    for key in entry:
        if key not in known:
            matches = difflib.get_close_matches(shorten(key), known, 1)
            raise UserError(
                f"{_join_key(where, shorten(key))} is not a known key"
                + (f"; did you mean {matches[0]}?" if matches else "")
            )
    return dict(entry)


def _check_list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{where} must be a list, got {type(value).__name__}")
    return value


def _join_key(where: str, key: str) -> str:
    return f"{where}: {key}" if where else key
