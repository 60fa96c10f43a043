"""Points of the last given frame, followed through the true clip and through a generated one."""

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
    """``points`` ``(L, N, 2)`` px from frame ``start`` on and whether the true clip shows them, ``visible`` ``(L, N)``."""

    start: int
    points: Points
    visible: NDArray[np.bool_]


def track_true_points(view: View, start: int) -> TruePointTracks:
    """Corners of frame ``start`` that could be followed for ``MIN_FRAMES`` frames or more."""
    corners = _detect_corners(view, start)
    points, visible = _track_points(view, start, corners)
    is_long = visible.sum(0) > MIN_FRAMES
    return TruePointTracks(start=start, points=points[:, is_long], visible=visible[:, is_long])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PointErrors:
    """Of each point: mean ``distance`` ``(N,)`` px from where it truly is, how far it truly went, ``path`` ``(N,)`` px
    root mean square, and its ``progress`` ``(N,)``, the share of the true motion that it made: 1 all, 0 none.
    """

    distance: Array
    path: Array
    progress: Array


def compute_point_errors(view: View, true: TruePointTracks) -> PointErrors:
    """How the points of ``true`` go in ``view``, over the frames in which the true clip shows them.

    A point that is lost counts as if it had stayed where it was last seen.
    """
    points, _ = _track_points(view, true.start, true.points[0])
    later = true.visible[1:]
    count = later.sum(0).clip(1)
    motion, true_motion = (p[1:] - true.points[0] for p in (points, true.points))
    power = (true_motion**2).sum(-1)
    return PointErrors(
        distance=np.asarray((np.linalg.norm(motion - true_motion, axis=-1) * later).sum(0) / count),
        path=np.sqrt((power * later).sum(0) / count),
        progress=((motion * true_motion).sum(-1) * later).sum(0) / np.maximum((power * later).sum(0), 1e-9),
    )


def _detect_corners(view: View, start: int) -> Points:
    spacing = max(3, view.gray.shape[1] // 28)
    found = cv2.goodFeaturesToTrack(view.gray[start], MAX_CORNERS, CORNER_QUALITY, spacing, blockSize=3)
    return np.zeros((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)


def _track_points(view: View, start: int, points: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Where points go ``(L, N, 2)``, and for how long ``(L, N)``; lost ones stay."""
    length = view.num_frames - start
    box_index = np.full(len(points), BACKGROUND)
    followed = LucasKanade().track_points(
        view, [QueryPoints(start=start, length=length, points=points, box_index=box_index)]
    )[0]
    height, width = view.gray.shape[1:]
    inside = ((followed.points > 1) & (followed.points < [width - 2, height - 2])).all(-1)
    alive = np.logical_and.accumulate(followed.visible & inside, axis=0)
    out = followed.points.copy()
    for k in range(1, length):
        out[k] = np.where(alive[k, :, None], out[k], out[k - 1])
    return out, alive
