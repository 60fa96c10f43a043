"""Frames with drawn boxes and background tracks, colored by their residual to the commanded motion."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.validation.camera.pairs import make_pair
from driveforge.validation.point_tracking.tracks import Tracks, TrackWindow, track_view
from driveforge.validation.review.timeline import command_residuals
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import (
    REFERENCE_ROWS,
    CommandedCamera,
    View,
    reference_view,
    single_threaded_opencv,
)

TAIL = 4  # frames of a track that are drawn behind its head
BAD_PX = 2.0  # reference px: fully red from here on
BOX_COLOR = (90, 170, 255)
UNKNOWN_COLOR = (200, 200, 200)
_SUBPIXEL_BITS = 4

Frames = NDArray[np.uint8]


def track_clip(clip: Clip) -> Tracks:
    """The tracks of the reference view, the same that are measured."""
    view = reference_view(clip)
    with single_threaded_opencv():
        return track_view(view, project_boxes(view))


def render_tracks(clip: Clip, tracks: Tracks) -> Frames:
    """The reference view ``(T, kH, kW, 3)`` RGB with tracks and boxes, with the smallest k that gives 256 rows.

    Tracks are green if they agree with the command, red from ``BAD_PX`` on, and gray without a command. Held frames are
    left out, since they are not measured.
    """
    view = reference_view(clip)
    factor = math.ceil(REFERENCE_ROWS / view.gray.shape[1])
    pixels = clip.view(view.camera)[: view.num_frames]
    size = (pixels.shape[2] * factor, pixels.shape[1] * factor)
    frames = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in pixels])
    boxes = project_boxes(view)
    if boxes:
        _draw_boxes(frames, view, boxes, factor)
    for window in tracks.background:
        _draw_window(frames, window, _track_colors(window, view.command), factor)
    return np.asarray(frames)


def _track_colors(window: TrackWindow, command: CommandedCamera | None) -> NDArray[np.int64]:
    """A color ``(N, 3)`` for every track, by its residual over its lifetime."""
    colors = np.tile(UNKNOWN_COLOR, (len(window.box_index), 1))
    if command is None:
        return colors
    lifetimes = window.alive.sum(0) - 1
    for lifetime in np.unique(lifetimes[lifetimes > 0]):
        selection = lifetimes == lifetime
        residuals = command_residuals(make_pair(window, 0, int(lifetime), command, selection), command)
        badness = np.clip(residuals / BAD_PX, 0, 1)[:, None]
        colors[selection] = badness * [255, 40, 30] + (1 - badness) * [40, 230, 60]
    return colors


def _draw_window(frames: Frames, window: TrackWindow, colors: NDArray[np.int64], factor: int) -> None:
    for k in range(1, window.length):
        image = frames[window.start + k]
        tails = _scaled(window.points[max(0, k - TAIL) : k + 1], factor)
        for i in np.flatnonzero(window.alive[k]):
            color = tuple(map(int, colors[i]))
            cv2.polylines(image, [np.ascontiguousarray(tails[:, i])], False, color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
            cv2.circle(image, tails[-1, i].tolist(), 2 << _SUBPIXEL_BITS, color, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def short_id(track: str) -> str:
    """A track's id for display; those of nuScenes have 32 characters."""
    return track if len(track) <= 12 else f"{track[:6]}..."


def _draw_boxes(frames: Frames, view: View, boxes: Boxes, factor: int) -> None:
    for t, image in enumerate(frames):
        for n, (track, hull) in enumerate(zip(view.tracks, boxes.hulls[t], strict=True)):
            if hull is None:
                continue
            outline = _scaled(hull, factor)
            cv2.polylines(image, [outline], True, BOX_COLOR, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
            if boxes.judged[t, n]:
                x, y = (outline.reshape(-1, 2).min(0) >> _SUBPIXEL_BITS).tolist()
                name = short_id(track.id)
                cv2.putText(image, name, (x, y - 2), cv2.FONT_HERSHEY_PLAIN, 0.7, BOX_COLOR, 1, cv2.LINE_AA)


def _scaled(points: NDArray[np.generic], factor: int) -> NDArray[np.int32]:
    """Image points in the enlarged image, in OpenCV's fixed-point format; pixel centers are integers."""
    enlarged = (points.astype(np.float64) + 0.5) * factor - 0.5
    return np.ascontiguousarray(np.round(enlarged * 2**_SUBPIXEL_BITS).astype(np.int32))
