"""The map raster of a recording, and the placement of the recording on it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Scene

# The devkit assumes 10 pixels per meter and the lower left corner of the raster at world (0, 0).
PIXELS_PER_METER = 10

# The devkit crops 40 m * sqrt(2) around the vehicle and fails at the edge of the raster.
_MARGIN_M = 60.0
_ORIGIN_M, _MAX_COORDINATE_M = 100.0, 600.0
_LANE_WIDTH_M = 4.0


def place_on_map(scene: Scene) -> Scene:
    """``scene`` translated by whole meters in x and y to coordinates that a map raster can cover.

    A recording whose path is within 60..600 m in x and y is not moved; others are moved to start at 100 m.
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
    """Write the semantic prior as PNG: 255 within half a lane width of a lane line and inside crossings, else 0."""
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
