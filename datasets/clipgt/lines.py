"""Lane lines, road boundaries and crosswalks of ClipGT as lanes of a scene, and back."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.datasets.clipgt.tables import read_lines, read_table, read_text_lists
from driveforge.datasets.clipgt.vocabulary import BOUNDARY_STYLE, VIRTUAL_STYLE
from driveforge.datasets.geometry import Array, transform
from driveforge.datasets.scene import Lane

_ELEMENTS = {"divider": "lane_line", "boundary": "road_boundary", "crossing": "crosswalk"}
_POINTS = {"lane_line": "line_rail", "road_boundary": "location", "crosswalk": "location"}


def read_lanes(file_of: Callable[[str], Path], world: Array) -> tuple[Lane, ...]:
    """The lanes of a clip, grouped by kind; ``world`` ``(4, 4)`` maps the ClipGT world to the scene's.

    The files are optional. Lines of style VIRTUAL, which are not painted, are skipped. The rails of ``lane`` repeat
    the other files; they are read only if there are neither lane lines nor road boundaries.
    """
    shapes = list(_read_elements(file_of))
    if not any(file_of(name).is_file() for name in ("lane_line", "road_boundary")):
        shapes += _read_rails(file_of("lane"))
    return tuple(Lane(kind=kind, points=transform(world, points)) for kind, points in shapes)


def _read_elements(file_of: Callable[[str], Path]) -> Iterator[tuple[str, Array]]:
    for kind, name in _ELEMENTS.items():
        if not file_of(name).is_file():
            continue
        table = read_table(file_of(name))
        if not table.num_rows:
            continue
        styles = read_text_lists(table, f"{name}.styles")
        for points, names in zip(read_lines(table, f"{name}.{_POINTS[name]}"), styles, strict=True):
            if _main_style(names) != VIRTUAL_STYLE:
                yield kind, _close(points) if kind == "crossing" else points


def _read_rails(path: Path) -> Iterator[tuple[str, Array]]:
    """The edges of the lanes in ``path``: boundaries of the road where their style says so, else dividers."""
    if not path.is_file() or not (table := read_table(path)).num_rows:
        return
    for side in ("left", "right"):
        styles = read_text_lists(table, f"lane.{side}_edge_styles")
        for points, names in zip(read_lines(table, f"lane.{side}_rail"), styles, strict=True):
            style = _main_style(names)
            if style != VIRTUAL_STYLE:
                yield "boundary" if style == BOUNDARY_STYLE else "divider", points


def _main_style(styles: Sequence[str]) -> str:
    """The most frequent style of a line, as in NVIDIA's reader; "" if it has none."""
    return Counter(styles).most_common(1)[0][0].upper() if styles else ""


def lane_rows(lanes: Sequence[Lane], world: Array, clip_id: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of ``lane_line``, ``road_boundary`` and ``crosswalk``; ``world`` maps the scene to the ClipGT world.

    Dividers are written as solid white lines, since a lane has no style.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _ELEMENTS.values()}
    for number, lane in enumerate(lane for lane in lanes if len(lane.points)):
        name = _ELEMENTS[lane.kind]
        points = transform(world, _open(lane.points) if lane.kind == "crossing" else lane.points)
        value: dict[str, Any] = {_POINTS[name]: [dict(zip("xyz", point, strict=True)) for point in points.tolist()]}
        if name == "lane_line":
            value |= {"styles": ["SOLID_SINGLE"] * len(points), "colors": ["WHITE"] * len(points)}
            value |= {"left_driving_direction": "UNKNOWN", "right_driving_direction": "UNKNOWN"}
        else:
            value["category"] = "PEDESTRIAN" if name == "crosswalk" else "road_boundary"
        key = {"clip_id": clip_id, "label_class_id": "driveforge", "map_id": str(number), "map_id_version": "1"}
        rows[name].append({"key": key, name: value, "version": 1})
    return rows


def _open(outline: Array) -> Array:
    """The vertices of a polygon, without the repetition of the first at the end."""
    is_closed = len(outline) > 3 and np.array_equal(outline[0], outline[-1])
    return outline[:-1] if is_closed else outline


def _close(vertices: Array) -> Array:
    is_open = len(vertices) > 2 and not np.array_equal(vertices[0], vertices[-1])
    return np.concatenate([vertices, vertices[:1]]) if is_open else vertices
