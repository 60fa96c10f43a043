"""A clip with its commanded boxes, point tracks and headings drawn into the frames."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.pipelines.review.overlays import draw_overlay
from driveforge.validation.point_tracking.protocol import PointTracker

# Small clips are enlarged to this many rows, so that names and lines are legible.
MIN_ROWS = 360
_BOX, _COMMANDED, _OBSERVED = (80, 170, 255), (255, 255, 255), (235, 60, 200)
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing

Image = NDArray[np.uint8]


def overlay_frames(clip: Clip, camera: str, tracker: PointTracker) -> Image:
    """Frames ``(T, H, W, 3)`` uint8 RGB of a camera with its overlay; enlarged by a whole factor if they are small."""
    overlay = draw_overlay(clip, camera, tracker)
    view = next(n for n, other in enumerate(clip.scene.cameras) if other.name == camera)
    scale = max(1, -(-MIN_ROWS // clip.scene.cameras[view].height))
    return np.stack(
        [
            _draw(frame, record, overlay, scale)
            for frame, record in zip(clip.frames[view], overlay["frames"], strict=True)
        ]
    )


def _draw(frame: Image, record: Mapping[str, Any], overlay: Mapping[str, Any], scale: int) -> Image:
    size = (frame.shape[1] * scale, frame.shape[0] * scale)
    image = cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_CUBIC)
    for box in record["boxes"]:
        _draw_box(image, box, overlay, scale)
    for trails in filter(None, (record["tracks"], record["object_tracks"])):
        for points, residual in zip(trails["points"], trails["residual"], strict=True):
            cv2.polylines(image, [_place(points, scale)], False, _color(residual, overlay), 1, cv2.LINE_AA, _SHIFT)
        for x, y in _place(trails["lost"], scale).reshape(-1, 2) >> _SHIFT if trails["lost"] else []:
            cv2.drawMarker(image, (int(x), int(y)), (220, 40, 40), cv2.MARKER_TILTED_CROSS, 6, 1)
    for heading, color, marker in (
        (record["commanded"], _COMMANDED, cv2.MARKER_CROSS),
        (record["observed"], _OBSERVED, cv2.MARKER_TILTED_CROSS),
    ):
        if heading is not None:
            x, y = _place([heading], scale)[0] >> _SHIFT
            cv2.drawMarker(image, (int(x), int(y)), color, marker, 14, 2)
    return np.asarray(image, np.uint8)


def _draw_box(image: Image, box: Mapping[str, Any], overlay: Mapping[str, Any], scale: int) -> None:
    """All edges of a box that is judged, the outline of another one; with the kind of the object."""
    points = _place(box["points"], scale)
    lines = [points[list(edge)] for edge in overlay["edges"]] if box["judged"] else [points]
    cv2.polylines(image, lines, not box["judged"], _BOX, 1, cv2.LINE_AA, _SHIFT)
    x, y = points.min(0) >> _SHIFT
    name = overlay["objects"][box["object"]]["name"]
    cv2.putText(image, name, (int(x), max(int(y) - 3, 10)), cv2.FONT_HERSHEY_SIMPLEX, 0.38, _BOX, 1, cv2.LINE_AA)


def _place(points: Any, scale: int) -> NDArray[np.int32]:
    """Pixels of the clip as fixed-point pixels of the enlarged image; pixel centers stay centers."""
    enlarged = (np.asarray(points, np.float64) + 0.5) * scale - 0.5
    return np.asarray(np.clip(np.rint(enlarged * 2**_SHIFT), -(2**20), 2**20), np.int32)


def _color(residual: float | None, overlay: Mapping[str, Any]) -> tuple[int, int, int]:
    """From green to red with the residual to the command; gray without a command."""
    if residual is None:
        return (170, 170, 170)
    share = min(residual / overlay["bad_px"], 1.0)
    return int(255 * min(1.0, 2 * share)), int(200 * min(1.0, 2 - 2 * share)), 40
