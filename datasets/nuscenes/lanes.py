"""Lanes of a nuScenes scene, from ``maps/lanes/<scene>.json`` (a driveforge extension) or from the map expansion."""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Lane

MAX_PATH_DISTANCE_M = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _LaneRecord:
    """A lane in the file of ``write_lanes``; ``points`` are in the world frame, in meters."""

    kind: str
    points: tuple[tuple[float, float, float], ...]


_LINE_LAYERS = ("lane_divider", "road_divider")


def lanes_path(root: Path, scene_name: str) -> Path:
    return root / "maps" / "lanes" / f"{scene_name}.json"


def write_lanes(root: Path, scene_name: str, lanes: Iterable[Lane]) -> None:
    """Write the lane file of a scene: a list of ``{"kind": str, "points": [[x, y, z], ...]}``, in world meters."""
    path = lanes_path(root, scene_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"kind": lane.kind, "points": lane.points.tolist()} for lane in lanes]) + "\n")


def read_lanes(root: Path, scene_name: str, location: str, ego_path: Array) -> tuple[Lane, ...]:
    """Lanes within 60 m of the ego path ``(T, 3)``; empty if ``root`` has no map of this scene."""
    lanes = _read_lane_file(lanes_path(root, scene_name)) if _is_safe_name(scene_name) else None
    if lanes is None and _is_safe_name(location) and (root / "maps" / "expansion" / f"{location}.json").is_file():
        lanes = _read_map_expansion(root, location)
    return tuple(piece for lane in lanes or () for piece in _crop_to_path(lane, ego_path))


def _is_safe_name(name: str) -> bool:
    """Whether ``name``, which comes from a table, is a plain file name and not a path."""
    return Path(name).name == name and "\0" not in name and len(name) < 200


def _crop_to_path(lane: Lane, ego_path: Array) -> list[Lane]:
    """The runs of segments of a lane that are within ``MAX_PATH_DISTANCE_M`` of the path, with unchanged points."""
    low, high = ego_path[:, :2].min(0) - MAX_PATH_DISTANCE_M, ego_path[:, :2].max(0) + MAX_PATH_DISTANCE_M
    start, stop = lane.points[:-1, :2], lane.points[1:, :2]
    inside = ((np.maximum(start, stop) >= low) & (np.minimum(start, stop) <= high)).all(1)
    if not inside.any():
        return []
    inside &= _distance_to_segments(ego_path[:, :2], start, stop) <= MAX_PATH_DISTANCE_M
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [Lane(kind=lane.kind, points=lane.points[a : b + 1]) for a, b in edges.reshape(-1, 2)]


def _distance_to_segments(points: Array, start: Array, stop: Array) -> Array:
    """Distance ``(S,)`` from each segment ``start`` to ``stop`` ``(S, 2)`` to the nearest of ``points`` ``(N, 2)``."""
    along = stop - start
    squared = np.maximum((along**2).sum(-1), 1e-12)
    offset = points[:, None] - start
    share = np.clip((offset * along).sum(-1) / squared, 0, 1)
    distances = np.linalg.norm(offset - share[..., None] * along, axis=-1)
    return np.asarray(distances.min(0))


def _read_lane_file(path: Path) -> tuple[Lane, ...] | None:
    if not path.is_file():
        return None
    records = read_record(path, tuple[_LaneRecord, ...], "it must be a list of {kind, points}")
    try:
        return tuple(Lane(kind=record.kind, points=np.asarray(record.points, np.float64)) for record in records)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


@functools.lru_cache(maxsize=4)
def _read_map_expansion(root: Path, location: str) -> tuple[Lane, ...]:
    """All lanes of a location. The map is flat at z = 0, like the ego poses of nuScenes."""
    from nuscenes.map_expansion.map_api import NuScenesMap

    path = root / "maps" / "expansion" / f"{location}.json"
    try:
        expansion = NuScenesMap(dataroot=str(root), map_name=location)
    except Exception as error:
        raise UserError(f"nuscenes-devkit cannot read the map expansion {path}: {shorten(repr(error), 120)}") from error
    shapes = [
        ("divider", expansion.extract_line(r["line_token"]))
        for layer in _LINE_LAYERS
        for r in getattr(expansion, layer)
    ]
    for record in expansion.drivable_area:
        for polygon in map(expansion.extract_polygon, record["polygon_tokens"]):
            shapes += [("boundary", ring) for ring in (polygon.exterior, *polygon.interiors)]
    shapes += [("crossing", expansion.extract_polygon(r["polygon_token"]).exterior) for r in expansion.ped_crossing]
    lines = ((kind, np.asarray(shape.coords, np.float64)[:, :2]) for kind, shape in shapes if len(shape.coords) >= 2)
    return tuple(Lane(kind=kind, points=np.pad(points, ((0, 0), (0, 1)))) for kind, points in lines)
