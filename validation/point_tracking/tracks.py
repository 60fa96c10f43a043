"""Points followed through a view: windows over background and boxes, and what a tracker made of them."""

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
    """``N`` points followed from frame ``start`` through ``L`` frames.

    ``points`` ``(L, N, 2)`` px hold still once a track ends; ``alive`` ``(L, N)``; ``lost`` ``(L, N)``: the track ended
    in this frame because it failed the check (and not because it left the image or went behind a box). ``box_index``
    ``(N,)`` is the index of the track in whose box a point was seeded, or ``BACKGROUND``; ``box_motion`` is where those
    boxes take the points, None over the background.
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
        """Which points ``(n,)`` are on the box of ``box_index``, and where ``(L, n, 2)`` px it takes them.

        Seeds beside it, which its outline in whole pixels lets in, are left out.
        """
        assert self.box_motion is not None, "nothing carries the background"
        on_box = np.flatnonzero((self.box_index == box_index) & self.box_motion.hit)
        return on_box, self.box_motion.points[:, on_box]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tracks:
    """Windows over the background, and windows over the objects' boxes."""

    background: tuple[TrackWindow, ...]
    objects: tuple[TrackWindow, ...]

    def steps(self) -> Iterator[tuple[int, TrackWindow]]:
        """Every pair of neighboring frames once: ``(k, window)`` is the step to frame ``window.start + k``."""
        for window in self.background:
            last = window is self.background[-1]
            yield from ((k, window) for k in range(1, window.length if last else min(STRIDE + 1, window.length)))


def track_view(view: View, boxes: Boxes | None, tracker: PointTracker = DEFAULT_TRACKER) -> Tracks:
    """Follow background and object points through all frames of a view."""
    covered, shape = _covered(view, boxes), view.gray.shape[1:]
    background = list(background_queries(view.gray, covered))
    objects = list(object_queries(view, view.command, boxes)) if boxes and view.command else []
    followed = tracker.track_points(view, [*background, *(queries for queries, _ in objects)])
    background_points, on_boxes = followed[: len(background)], followed[len(background) :]
    return Tracks(
        background=tuple(
            _window(s, f, _in_view(f.points, shape) & ~_is_occluded(s, f.points, covered))
            for s, f in zip(background, background_points, strict=True)
        ),
        objects=tuple(
            _window(s, f, _in_view(f.points, shape), box_motion)
            for (s, box_motion), f in zip(objects, on_boxes, strict=True)
        ),
    )


def _covered(view: View, boxes: Boxes | None) -> NDArray[np.uint8]:
    """Masks ``(T, H, W)`` of boxes and their shadows, where nothing is background."""
    if boxes is None:
        return np.zeros(view.gray.shape, np.uint8)
    shape = (view.gray.shape[1], view.gray.shape[2])
    return np.stack([boxes.mask_with_shadows(t, shape) for t in range(view.num_frames)])


def _in_view(points: Points, shape: tuple[int, ...]) -> Mask:
    height, width = shape
    return np.asarray(((points > 1) & (points < [width - 2, height - 2])).all(-1))


def _is_occluded(queries: QueryPoints, points: Points, covered: NDArray[np.uint8]) -> Mask:
    """Which ``points`` ``(L, N, 2)`` lie where their frame is covered, after the first, in which they were seeded."""
    occluded = np.zeros(points.shape[:2], np.bool_)
    for k in range(1, queries.length):
        occluded[k] = values_at(covered[queries.start + k], points[k]) > 0
    return occluded


def _window(
    queries: QueryPoints, followed: TrackedPoints, in_view: Mask, box_motion: BoxMotion | None = None
) -> TrackWindow:
    """Tracks end where they are not kept or are no longer ``in_view`` ``(L, N)``."""
    points = followed.points.copy()
    alive = followed.visible & in_view
    alive[0] = True
    alive = np.logical_and.accumulate(alive, axis=0)
    lost = np.zeros_like(alive)
    lost[1:] = alive[:-1] & ~followed.visible[1:] & in_view[1:]
    for k in range(1, queries.length):
        points[k] = np.where(alive[k, :, None], points[k], points[k - 1])
    return TrackWindow(
        start=queries.start, points=points, alive=alive, lost=lost, box_index=queries.box_index, box_motion=box_motion
    )
