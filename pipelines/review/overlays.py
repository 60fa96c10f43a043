"""What the page draws over a clip: boxes, point tracks and headings of every camera as geometry in pixels.

The page draws it on a canvas, so that overlays can be switched without encoding a video again.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from driveforge.datasets.geometry import BOX_FACES, Array
from driveforge.datasets.scene import Clip
from driveforge.validation.point_tracking.protocol import PointTracker
from driveforge.validation.point_tracking.tracks import DEFAULT_TRACKER, Tracks, track_view
from driveforge.validation.review.drawing import BAD_PX
from driveforge.validation.review.headings import commanded_heading, project_direction
from driveforge.validation.review.timeline import Timeline, Trails, build_timeline, object_trails_at, trails_at
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import View, list_views, single_threaded_opencv

_EDGES = sorted({tuple(sorted(edge)) for face in BOX_FACES for edge in pairwise((*face, face[0]))})


def draw_overlay(clip: Clip, camera: str, tracker: PointTracker = DEFAULT_TRACKER) -> dict[str, Any]:
    """The overlay of every frame of a camera as JSON values; positions are pixels of the video.

    ``bad_px`` is the residual from which a track is fully red, ``edges`` the pairs of corners of a box.
    """
    view = next(view for view in list_views(clip) if view.camera == camera)
    boxes = project_boxes(view)
    with single_threaded_opencv():
        tracks = track_view(view, boxes, tracker)
        timeline = build_timeline(view, boxes, tracks)
    height, width = view.gray.shape[1:]
    frames = [_draw_frame(view, boxes, tracks, timeline, frame) for frame in range(view.num_frames)]
    ids = [{"id": track.id, "name": track.category.rpartition(".")[2]} for track in view.tracks] if boxes else []
    constants = {"bad_px": BAD_PX, "edges": _EDGES, "width": width, "height": height}
    return {**constants, "reason": view.reason, "objects": ids, "frames": frames}


def _draw_frame(view: View, boxes: Boxes | None, tracks: Tracks, timeline: Timeline, frame: int) -> dict[str, Any]:
    commanded = None if view.command is None else commanded_heading(view.command, frame)
    refined, observed = timeline.refined[frame], None
    if view.command is not None and refined is not None and refined.direction is not None:
        observed = project_direction(view.command, refined.direction)
    return {
        "boxes": _draw_boxes(boxes, frame) if boxes is not None else [],
        "tracks": _draw_trails(trails_at(tracks, view.command, frame)),
        "object_tracks": _draw_trails(object_trails_at(view, tracks, frame)) if view.command is not None else {},
        "commanded": _numbers(commanded),
        "observed": _numbers(observed),
        "residual": _number(float(timeline.residual[frame, 1])),
    }


def _draw_boxes(boxes: Boxes, frame: int) -> list[dict[str, Any]]:
    """Boxes from the farthest to the nearest: sufficiently visible ones with their corners, others as outlines."""
    drawn = []
    for index in np.argsort(-boxes.distance[frame]):
        hull = boxes.hulls[frame][index]
        if hull is not None:
            is_judged = bool(boxes.judged[frame, index])
            points = boxes.corners[frame, index] if is_judged else hull[:, 0].astype(np.float64)
            drawn.append({"object": int(index), "judged": is_judged, "points": _numbers(points)})
    return drawn


def _draw_trails(trails: Trails) -> dict[str, Any]:
    """``points`` ``(N, L, 2)``, the oldest first, with the residual of each track to the command, None without one."""
    return {
        "points": _numbers(trails.points.transpose(1, 0, 2)),
        "residual": [_number(value) for value in trails.residual],
        "lost": _numbers(trails.lost),
    }


def _numbers(points: Array | None) -> Any:
    """Rounded to a tenth of a pixel; far outside of the image is as good as infinitely far."""
    return None if points is None else np.round(np.clip(points, -1e5, 1e5), 1).tolist()


def _number(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None
