"""nuScenes tables through nuscenes-devkit, with every defect of a table told in one line."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes

from datasets.errors import UserError
from datasets.nuscenes_taxonomy import Row

# The fields that are read here or by the devkit while it indexes the tables.
_FIELDS: dict[str, tuple[str, ...]] = {
    "category": ("token", "name"),
    "attribute": ("token",),
    "visibility": ("token",),
    "instance": ("token", "category_token"),
    "sensor": ("token", "channel", "modality"),
    "calibrated_sensor": ("token", "sensor_token", "translation", "rotation", "camera_intrinsic"),
    "ego_pose": ("token", "translation", "rotation"),
    "log": ("token", "location"),
    "scene": ("token", "name", "description", "log_token", "first_sample_token", "last_sample_token"),
    "sample": ("token", "timestamp", "prev", "next", "scene_token"),
    "sample_data": (
        "token", "sample_token", "ego_pose_token", "calibrated_sensor_token", "timestamp", "is_key_frame", "filename",
    ),
    "sample_annotation": ("token", "sample_token", "instance_token", "translation", "size", "rotation"),
    "map": ("token", "filename", "log_tokens"),
}  # fmt: skip

_NUMBERS: dict[str, dict[str, int]] = {
    "ego_pose": {"translation": 3, "rotation": 4},
    "calibrated_sensor": {"translation": 3, "rotation": 4},
    "sample_annotation": {"translation": 3, "size": 3, "rotation": 4},
}


class CheckedNuScenes(NuScenes):
    """The devkit's database; a missing, broken or inconsistent table raises a UserError naming table and token."""

    def __load_table__(self, table_name: str) -> list[Row]:
        path = Path(self.table_root) / f"{table_name}.json"
        rows = _read_rows(path)
        _check_fields(path, rows, _FIELDS.get(table_name, ("token",)))
        if table_name in ("sample", "sample_data"):
            _check_timestamps(path, rows)
        for field, length in _NUMBERS.get(table_name, {}).items():
            _check_numbers(path, rows, field, length)
        if table_name == "map":
            self._check_maps(path, rows)
        return rows

    def _check_maps(self, path: Path, rows: list[Row]) -> None:
        for row in rows:
            if not (Path(self.dataroot) / row["filename"]).is_file():
                raise UserError(f"{path}: token {row['token']}: the map mask {row['filename']} is missing")
        mapped = {log for row in rows for log in row["log_tokens"]}
        for log in self.log:
            if log["token"] not in mapped:
                raise UserError(f"{path}: no row names the log {log['token']} of log.json in its log_tokens")

    def getind(self, table_name: str, token: str) -> int:
        """Index of a row; a token that another table names but this one lacks is a UserError."""
        try:
            return int(self._token2ind[table_name][token])
        except KeyError:
            path = Path(self.table_root) / f"{table_name}.json"
            raise UserError(f"{path} has no token {token!r}, which another table refers to") from None


def open_tables(root: Path, version: str) -> CheckedNuScenes:
    """The tables in ``root/version``; a UserError names the root, version, table or token that is wrong."""
    if not root.is_dir():
        raise UserError(f"nuScenes dataroot {root} is not a folder")
    if not (root / version).is_dir():
        present = sorted(p.parent.name for p in root.glob("*/scene.json"))
        raise UserError(
            f"{root} has no version {version!r}; it has {', '.join(present) or 'no folder with a scene.json'}"
        )
    try:
        return CheckedNuScenes(version, str(root), verbose=False)
    except (AssertionError, OSError, LookupError, TypeError) as error:
        raise UserError(f"nuscenes-devkit cannot read {root / version}: {type(error).__name__}: {error}") from error


def split_names(root: Path, version: str) -> dict[str, frozenset[str]]:
    """Scene names of every split: the official ones, joined by those of ``splits.json`` beside the tables (the devkit's
    place for splits of one's own)."""
    splits = {name: frozenset(scenes) for name, scenes in create_splits_scenes().items()}
    path = root / version / "splits.json"
    if path.is_file():
        own = _read_json(path)
        if not isinstance(own, dict) or not all(isinstance(scenes, list) for scenes in own.values()):
            raise UserError(f"{path} must map names of splits to lists of scene names")
        for name, scenes in own.items():
            splits[name] = splits.get(name, frozenset()) | frozenset(map(str, scenes))
    return splits


def split_of(scene_name: str, version: str, splits: dict[str, frozenset[str]]) -> str:
    """The split that a scene belongs to, "" where none: mini splits win in a mini version, halves of train never."""
    mini = [name for name in splits if name.startswith("mini_")]
    others = [name for name in splits if name not in (*mini, "train_detect", "train_track")]
    order = [*mini, *others] if "mini" in version else others
    return next((name for name in order if scene_name in splits[name]), "")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"nuScenes table {path} is missing") from None
    except ValueError as error:
        raise UserError(f"nuScenes table {path} is not valid JSON: {error}") from None


def _read_rows(path: Path) -> list[Row]:
    rows = _read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"nuScenes table {path} must be a list of records")
    return rows


def _check_fields(path: Path, rows: Iterable[Row], fields: tuple[str, ...]) -> None:
    for number, row in enumerate(rows):
        for field in fields:
            if field not in row:
                raise UserError(f"{path}: record {number} (token {row.get('token', 'missing')}) has no {field!r}")


def _check_timestamps(path: Path, rows: Iterable[Row]) -> None:
    for row in rows:
        if not isinstance(row["timestamp"], int):
            raise UserError(
                f"{path}: token {row['token']}: timestamp must be whole microseconds, got {row['timestamp']}"
            )


def _check_numbers(path: Path, rows: Iterable[Row], field: str, length: int) -> None:
    for row in rows:
        values = row[field]
        if not isinstance(values, list) or len(values) != length or not all(isinstance(v, int | float) for v in values):
            raise UserError(f"{path}: token {row['token']}: {field} must be {length} numbers, got {values}")
        if not all(map(math.isfinite, values)):
            raise UserError(f"{path}: token {row['token']}: {field} holds NaN or infinite values: {values}")
        if field == "rotation" and abs(math.hypot(*values) - 1) > 0.01:
            raise UserError(f"{path}: token {row['token']}: rotation {values} is not a unit quaternion (w, x, y, z)")
        if field == "size" and min(values) <= 0:
            raise UserError(f"{path}: token {row['token']}: size {values} must be positive")
