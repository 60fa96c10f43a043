"""The map raster of a recording, and the recording's place on it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Scene

# The devkit takes every map raster at 10 pixels a meter, its lower left corner at world (0, 0).
PIXELS_PER_METER = 10

# The devkit crops 40 m * sqrt(2) around the vehicle and fails at an edge.
_MARGIN_M = 60.0
_ORIGIN_M, _MAX_COORDINATE_M = 100.0, 600.0
_LANE_WIDTH_M = 4.0


def place_on_map(scene: Scene) -> Scene:
    """``scene`` where a map raster can hold it: poses, boxes and lanes moved together by whole meters in x and y.

    A recording whose path lies in 60..600 m of both axes stays where it is; others begin at 100 m.
    """
    assert scene.ego_to_world is not None
    path = scene.ego_to_world[:, :2, 3]
    offset = np.zeros(3)
    if (path < _MARGIN_M).any() or (path > _MAX_COORDINATE_M).any():
        offset[:2] = _ORIGIN_M - np.floor(path.min(0))
    if not offset.any():
        return scene
    return replace(
        scene,
        ego_to_world=_translate(scene.ego_to_world, offset),
        tracks=tuple(replace(k, box_to_world=_translate(k.box_to_world, offset)) for k in scene.tracks),
        lanes=tuple(replace(lane, points=lane.points + offset) for lane in scene.lanes),
    )


def write_raster(path: Path, scene: Scene) -> None:
    """Write the semantic prior as PNG: 255 within half a lane of any lane line or inside a crossing, else 0."""
    assert scene.ego_to_world is not None
    width, height = (np.ceil(scene.ego_to_world[:, :2, 3].max(0) + _MARGIN_M) * PIXELS_PER_METER).astype(int)
    raster: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
    for lane in scene.lanes:
        pixels = np.round(lane.points[:, :2] * [PIXELS_PER_METER, -PIXELS_PER_METER] + [0, height]).astype(np.int32)
        if lane.kind == "crossing":
            cv2.fillPoly(raster, [pixels], (255,))
        else:
            cv2.polylines(raster, [pixels], False, (255,), int(_LANE_WIDTH_M * PIXELS_PER_METER))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", raster)[1].tobytes())


def _translate(poses: Array, offset: Array) -> Array:
    translated = poses.copy()
    translated[:, :3, 3] += offset
    return translated
