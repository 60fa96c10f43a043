"""Point tracks of a view: windows of tracked points on the background and on boxes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.box_motion import BoxMotion
from driveforge.validation.point_tracking.lucas_kanade import LucasKanade
from driveforge.validation.point_tracking.protocol import Mask, Points, PointTracker, QueryPoints, TrackedPoints
from driveforge.validation.point_tracking.queries import STRIDE, background_queries, object_queries
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.pixels import values_at
from driveforge.validation.views.view import View

DEFAULT_TRACKER: PointTracker = LucasKanade()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrackWindow:
    """``N`` points tracked from frame ``start`` through ``L`` frames.

    ``points`` ``(L, N, 2)`` px stay in place after a track ends; ``alive`` ``(L, N)``; ``lost`` ``(L, N)``: the track
    ends in this frame because the tracker lost it (not because it left the image or was occluded by a box).
    ``box_index`` ``(N,)`` is the index of the track whose box contains the query point, or ``BACKGROUND``;
    ``box_motion`` is the commanded motion of points on boxes, None on the background.
    """

    start: int
    points: Points
    alive: Mask
    lost: Mask
    box_index: NDArray[np.int64]
    box_motion: BoxMotion | None = None

    @property
    def length(self) -> int:
        return len(self.points)

    def on_box(self, box_index: int) -> tuple[NDArray[np.intp], Array]:
        """The points ``(n,)`` on the box of ``box_index``, and their commanded positions ``(L, n, 2)`` px.

        Query points that miss the box, because its outline is rounded to whole pixels, are left out.
        """
        assert self.box_motion is not None, "background points have no box"
        on_box = np.flatnonzero((self.box_index == box_index) & self.box_motion.hit)
        return on_box, self.box_motion.points[:, on_box]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tracks:
    """The windows of the background and of the objects' boxes."""

    background: tuple[TrackWindow, ...]
    objects: tuple[TrackWindow, ...]

    def steps(self) -> Iterator[tuple[int, TrackWindow]]:
        """Every pair of neighboring frames once: ``(k, window)`` is the step to frame ``window.start + k``."""
        for window in self.background:
            last = window is self.background[-1]
            yield from ((k, window) for k in range(1, window.length if last else min(STRIDE + 1, window.length)))


def track_view(view: View, boxes: Boxes | None, tracker: PointTracker = DEFAULT_TRACKER) -> Tracks:
    """Track background and object points through all frames of a view."""
    covered, shape = _covered(view, boxes), view.gray.shape[1:]
    background = list(background_queries(view.gray, covered))
    objects = list(object_queries(view, view.command, boxes)) if boxes and view.command else []
    tracked = tracker.track_points(view, [*background, *(queries for queries, _ in objects)])
    background_points, object_points = tracked[: len(background)], tracked[len(background) :]
    return Tracks(
        background=tuple(
            _window(queries, points, _in_view(points.points, shape) & ~_is_occluded(queries, points.points, covered))
            for queries, points in zip(background, background_points, strict=True)
        ),
        objects=tuple(
            _window(queries, points, _in_view(points.points, shape), box_motion)
            for (queries, box_motion), points in zip(objects, object_points, strict=True)
        ),
    )


def _covered(view: View, boxes: Boxes | None) -> NDArray[np.uint8]:
    """Masks ``(T, H, W)`` of boxes and their shadows, which are not background."""
    if boxes is None:
        return np.zeros(view.gray.shape, np.uint8)
    shape = (view.gray.shape[1], view.gray.shape[2])
    return np.stack([boxes.mask_with_shadows(t, shape) for t in range(view.num_frames)])


def _in_view(points: Points, shape: tuple[int, ...]) -> Mask:
    height, width = shape
    return np.asarray(((points > 1) & (points < [width - 2, height - 2])).all(-1))


def _is_occluded(queries: QueryPoints, points: Points, covered: NDArray[np.uint8]) -> Mask:
    """Which ``points`` ``(L, N, 2)`` are at covered pixels of their frame, after the first frame."""
    occluded = np.zeros(points.shape[:2], np.bool_)
    for k in range(1, queries.length):
        occluded[k] = values_at(covered[queries.start + k], points[k]) > 0
    return occluded


def _window(
    queries: QueryPoints, tracked: TrackedPoints, in_view: Mask, box_motion: BoxMotion | None = None
) -> TrackWindow:
    """Tracks end at the first frame in which they are not visible or not ``in_view`` ``(L, N)``."""
    points = tracked.points.copy()
    alive = tracked.visible & in_view
    alive[0] = True
    alive = np.logical_and.accumulate(alive, axis=0)
    lost = np.zeros_like(alive)
    lost[1:] = alive[:-1] & ~tracked.visible[1:] & in_view[1:]
    for k in range(1, queries.length):
        points[k] = np.where(alive[k, :, None], points[k], points[k - 1])
    return TrackWindow(
        start=queries.start, points=points, alive=alive, lost=lost, box_index=queries.box_index, box_motion=box_motion
    )
