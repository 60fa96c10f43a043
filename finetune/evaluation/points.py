"""Corners of the last context frame, tracked in the true clip and in a generated one."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.lucas_kanade import LucasKanade
from driveforge.validation.point_tracking.protocol import BACKGROUND, Points, QueryPoints
from driveforge.validation.views.view import View

MIN_POINTS = 5
MIN_FRAMES = 3
MAX_CORNERS, CORNER_QUALITY = 160, 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TruePointTracks:
    """``points`` ``(L, N, 2)`` px from frame ``start`` on, and their ``visible`` ``(L, N)`` in the true clip."""

    start: int
    points: Points
    visible: NDArray[np.bool_]


def track_true_points(view: View, start: int) -> TruePointTracks:
    """Corners of frame ``start`` that can be tracked for at least ``MIN_FRAMES`` frames."""
    corners = _detect_corners(view, start)
    points, visible = _track_points(view, start, corners)
    is_long = visible.sum(0) > MIN_FRAMES
    return TruePointTracks(start=start, points=points[:, is_long], visible=visible[:, is_long])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PointErrors:
    """Errors of N points: mean ``distance`` ``(N,)`` px from the true position, and ``progress`` ``(N,)``.

    ``path`` ``(N,)`` px is the root mean square of the true displacement. Progress is the projection of the generated
    displacement onto the true one, as a share of it: 1 is the true motion, 0 is none.
    """

    distance: Array
    path: Array
    progress: Array


def compute_point_errors(view: View, true: TruePointTracks) -> PointErrors:
    """Errors of the points of ``true`` in ``view``, over the frames in which they are visible in the true clip.

    A lost point stays where it was last visible.
    """
    points, _ = _track_points(view, true.start, true.points[0])
    later = true.visible[1:]
    count = later.sum(0).clip(1)
    motion, true_motion = points[1:] - true.points[0], true.points[1:] - true.points[0]
    squared_path = (true_motion**2).sum(-1)
    return PointErrors(
        distance=np.asarray((np.linalg.norm(motion - true_motion, axis=-1) * later).sum(0) / count),
        path=np.sqrt((squared_path * later).sum(0) / count),
        # Least squares: the s that minimizes the sum of |motion - s true_motion|^2.
        progress=((motion * true_motion).sum(-1) * later).sum(0) / np.maximum((squared_path * later).sum(0), 1e-9),
    )


def _detect_corners(view: View, start: int) -> Points:
    spacing = max(3, view.gray.shape[1] // 28)
    found = cv2.goodFeaturesToTrack(view.gray[start], MAX_CORNERS, CORNER_QUALITY, spacing, blockSize=3)
    return np.zeros((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)


def _track_points(view: View, start: int, points: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Tracks ``(L, N, 2)`` and their visibility ``(L, N)``; a lost point is never visible again, and stays in place."""
    length = view.num_frames - start
    box_index = np.full(len(points), BACKGROUND)
    queries = [QueryPoints(start=start, length=length, points=points, box_index=box_index)]
    tracked = LucasKanade().track_points(view, queries)[0]
    height, width = view.gray.shape[1:]
    inside = ((tracked.points > 1) & (tracked.points < [width - 2, height - 2])).all(-1)
    visible = np.logical_and.accumulate(tracked.visible & inside, axis=0)
    positions = tracked.points.copy()
    for k in range(1, length):
        positions[k] = np.where(visible[k, :, None], positions[k], positions[k - 1])
    return positions, visible
