"""Observations of each object over each window: the deviation of its points from its commanded box.

Residuals are observed minus commanded positions, px of the image.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.protocol import Points
from driveforge.validation.point_tracking.tracks import Tracks, TrackWindow
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import View

MIN_POINTS = 6
# A box of this size must show something that can be tracked; a smaller one may be too small.
LARGE_PX = 32.0  # reference px
MAX_MOTION_SHARE = 0.12  # of the image width: Lucas-Kanade is unreliable beyond
MAX_SIZE_CHANGE = 1.3
# A point supports its box if it moves with it within this tolerance.
SUPPORT_PX, SUPPORT_SHARE = 0.8, 0.1
MAX_OFFSET_SHARE = 0.5  # of the box's size


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObjectObservation:
    """One object over one window, frames ``first`` to ``last``; ``size`` px is the size of its box.

    ``support`` is the share of its points, of at least ``MIN_POINTS``, that are tracked to the next frame and move with
    the box for as long as they are tracked. ``offset`` ``(2,)`` px is the median residual at ``last`` and ``growth``
    the log of the ratio of the object's growth to that of its box; None if there are too few points.
    """

    first: int
    last: int
    size: float
    support: float
    offset: Array | None
    growth: float | None

    @property
    def frames(self) -> tuple[int, int]:
        return self.first, self.last


def observe_objects(view: View, boxes: Boxes, tracks: Tracks) -> dict[int, list[ObjectObservation]]:
    """The observations of every sufficiently visible object, by the index of its track, in time order."""
    observations: dict[int, list[ObjectObservation]] = defaultdict(list)
    for window in tracks.objects:
        for box_index in np.flatnonzero(boxes.judged[window.start] & boxes.judged[window.start + 1]):
            observation = _observe(view, boxes, window, int(box_index))
            if observation:
                observations[int(box_index)].append(observation)
    return observations


def _observe(view: View, boxes: Boxes, window: TrackWindow, box_index: int) -> ObjectObservation | None:
    on_box, predicted = window.on_box(box_index)
    size = float(boxes.size[window.start, box_index])
    if len(on_box) < MIN_POINTS and size < LARGE_PX / view.scale:
        return None
    points, alive = window.points[:, on_box], window.alive[:, on_box]
    gap = _gap(view, boxes, window, box_index)
    if gap == 0:
        return None
    residual, kept = points - predicted, alive[gap]
    # A box also contains some background: points far from their prediction are dropped if enough others are left.
    is_near = np.linalg.norm(residual[gap], axis=1) < MAX_OFFSET_SHARE * size
    kept = kept & is_near if (kept & is_near).sum() >= MIN_POINTS else kept
    # Support is evaluated at the last frame in which each point is tracked.
    last = alive[: gap + 1].sum(0) - 1
    errors = np.linalg.norm(residual[last, np.arange(len(last))], axis=1)
    near = errors < max(SUPPORT_PX / view.scale, SUPPORT_SHARE * size)
    enough = kept.sum() >= MIN_POINTS
    return ObjectObservation(
        first=window.start,
        last=window.start + gap,
        size=size,
        support=float((near & alive[1]).sum() / max(len(near), MIN_POINTS)),
        offset=np.median(residual[gap, kept], 0).astype(np.float64) if enough else None,
        growth=_growth(predicted[gap, kept], points[gap, kept], size) if enough else None,
    )


def _gap(view: View, boxes: Boxes, window: TrackWindow, box_index: int) -> int:
    """The longest gap over which the box stays visible and its motion and growth are trackable; 0 if there is none."""
    height, width = view.gray.shape[1:]
    size, inside = boxes.size[:, box_index], boxes.rectangle[:, box_index].clip(0, [width - 1, height - 1] * 2)
    center = inside.reshape(-1, 2, 2).mean(1)
    for k in range(1, window.length):
        motion = float(np.linalg.norm(center[window.start + k] - center[window.start]))
        change = size[window.start + k] / size[window.start]
        moderate = motion < MAX_MOTION_SHARE * width and 1 / MAX_SIZE_CHANGE < change < MAX_SIZE_CHANGE
        if not (moderate and boxes.judged[window.start + k, box_index]):
            return k - 1
    return window.length - 1


def _growth(predicted: Array, points: Points, size: float) -> float | None:
    """Median log ratio of observed to predicted distances between points; None if too few are far apart."""
    i, j = np.triu_indices(len(points), 1)
    expected = np.linalg.norm(predicted[i] - predicted[j], axis=1)
    actual = np.linalg.norm(points[i] - points[j], axis=1)
    far = expected > 0.3 * size
    return float(np.median(np.log(np.maximum(actual[far], 0.1) / expected[far]))) if far.sum() >= MIN_POINTS else None
