"""Validation of the rows of nuScenes tables; errors name the table, token and field."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from driveforge.datasets.checked_arrays import MAX_COORDINATE_M
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import parse_json
from driveforge.datasets.nuscenes.taxonomy import Row

# The fields that are used in this package, or by the devkit when it indexes the tables.
_FIELDS: dict[str, dict[str, type]] = {
    "category": {"name": str},
    "attribute": {},
    "visibility": {},
    "instance": {"category_token": str},
    "sensor": {"channel": str, "modality": str},
    "calibrated_sensor": {"sensor_token": str, "translation": list, "rotation": list, "camera_intrinsic": list},
    "ego_pose": {"translation": list, "rotation": list},
    "log": {"location": str},
    "scene": {"name": str, "description": str, "log_token": str},
    "sample": {"timestamp": int, "scene_token": str},
    "sample_data": {
        "sample_token": str, "ego_pose_token": str, "calibrated_sensor_token": str, "timestamp": int,
        "is_key_frame": bool, "filename": str,
    },
    "sample_annotation": {
        "sample_token": str, "instance_token": str, "translation": list, "size": list, "rotation": list,
    },
    "map": {"filename": str, "log_tokens": list},
}  # fmt: skip

_VECTOR_LENGTHS: dict[str, dict[str, int]] = {
    "ego_pose": {"translation": 3, "rotation": 4},
    "calibrated_sensor": {"translation": 3, "rotation": 4},
    "sample_annotation": {"translation": 3, "size": 3, "rotation": 4},
}

_TYPE_NAMES = {str: "text", list: "a list", bool: "true or false", int: "whole microseconds"}
_MAX_MICROSECONDS = 2**53


def read_table(path: Path) -> list[Row]:
    """The rows of the table ``path``; raises UserError if a used field is missing or has a wrong type or value."""
    rows = _read_rows(path)
    if path.stem not in _FIELDS:  # tables of extensions, which only the devkit reads
        return rows
    tokens: set[str] = set()
    fields = {"token": str, **_FIELDS[path.stem]}
    for number, row in enumerate(rows):
        _check_fields(path, number, row, fields)
        if row["token"] in tokens:
            raise UserError(f"{path}: token {shorten(row['token'])} is duplicated")
        tokens.add(row["token"])
        for field, length in _VECTOR_LENGTHS.get(path.stem, {}).items():
            _check_numbers(path, row, field, length)
        if "filename" in fields:
            _check_filename(path, row)
    return rows


def check_maps(root: Path, path: Path, maps: Iterable[Row], logs: Iterable[Row]) -> None:
    """Raise UserError if a mask of the map table ``path`` is missing or a log has no map."""
    mapped: set[str] = set()
    for row in maps:
        where = f"{path}: token {shorten(row['token'])}"
        if not (root / row["filename"]).is_file():
            raise UserError(f"{where}: the map mask {row['filename']} is missing")
        if not all(isinstance(log, str) for log in row["log_tokens"]):
            raise UserError(f"{where}: log_tokens must be a list of tokens, got {_format(row['log_tokens'])}")
        mapped.update(row["log_tokens"])
    for log in logs:
        if log["token"] not in mapped:
            raise UserError(f"{path}: no row has the log {log['token']} of log.json in its log_tokens")


def _read_rows(path: Path) -> list[Row]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"nuScenes table {path} is missing") from None
    except OSError as error:
        raise UserError(f"nuScenes table {path} cannot be read ({error.strerror})") from None
    rows = parse_json(content, f"nuScenes table {path}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"nuScenes table {path} must be a list of records")
    return rows


def _check_fields(path: Path, number: int, row: Row, fields: Mapping[str, type]) -> None:
    for field, field_type in fields.items():
        if field not in row:
            raise UserError(f"{path}: record {number} (token {shorten(row.get('token', 'missing'))}) has no {field!r}")
        if type(row[field]) is not field_type:
            where = f"record {number}" if field == "token" else f"token {shorten(row['token'])}"
            raise UserError(f"{path}: {where}: {field} must be {_TYPE_NAMES[field_type]}, got {_format(row[field])}")
        if field_type is int and not 0 <= row[field] < _MAX_MICROSECONDS:
            raise UserError(
                f"{path}: token {shorten(row['token'])}: {field} must be whole microseconds, got {_format(row[field])}"
            )


def _check_numbers(path: Path, row: Row, field: str, length: int) -> None:
    values, where = row[field], f"{path}: token {shorten(row['token'])}"
    if len(values) != length or not all(type(value) in (int, float) for value in values):
        raise UserError(f"{where}: {field} must be {length} numbers, got {_format(values)}")
    # isfinite fails for integers that exceed the range of floats.
    if not all(type(value) is int or math.isfinite(value) for value in values):
        raise UserError(f"{where}: {field} holds NaN or infinite values: {values}")
    if max(map(abs, values)) > MAX_COORDINATE_M:
        raise UserError(f"{where}: {field} {_format(values)} exceeds {MAX_COORDINATE_M:.0e} m; is it in meters?")
    if field == "rotation" and abs(math.hypot(*values) - 1) > 0.01:
        raise UserError(f"{where}: rotation {values} is not a unit quaternion (w, x, y, z)")
    if field == "size" and min(values) <= 0:
        raise UserError(f"{where}: size {values} must be positive")


def _check_filename(path: Path, row: Row) -> None:
    """Raise UserError if a file name points outside the data root."""
    name = row["filename"]
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        where = f"{path}: token {shorten(row['token'])}"
        raise UserError(f"{where}: filename must be under the data root, got {_format(row['filename'])}")


def _format(value: object) -> str:
    return shorten(json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value)
