"""Pyramidal Lucas-Kanade, initialized by dense inverse search (DIS) flow to track fast motion.

Dense flow misses small objects that move fast, so points on objects are also initialized by their commanded motion; the
result with the more similar patch is used. A step is valid if tracking backward returns to its start. All points share
the flow of a step.

Sources: Bouguet, "Pyramidal implementation of the Lucas Kanade feature tracker" (2001); Kalal et al., "Forward-backward
error" (ICPR 2010); Kroeger et al., "Fast optical flow using dense inverse search" (ECCV 2016).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.validation import records
from driveforge.validation.point_tracking.protocol import Mask, Points, QueryPoints, TrackedPoints
from driveforge.validation.views.pixels import values_at
from driveforge.validation.views.view import REFERENCE_ROWS, View

Image = NDArray[np.uint8]


class LucasKanade:
    """The default tracker; it needs no weights."""

    name = records.LUCAS_KANADE

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> list[TrackedPoints]:
        tracks = [_PartialTrack(one) for one in queries]
        on_objects = [track for track in tracks if track.queries.is_on_objects]
        on_background = [track for track in tracks if not track.queries.is_on_objects]
        patch = _patch_size(view.gray.shape[1])
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        for t in range(view.num_frames - 1):
            step = _Step(view.gray[t], view.gray[t + 1], flow)
            step.advance(on_background, t, patch=patch, tolerance=1.0)
            step.advance(on_objects, t, patch=max(7, patch - 6), tolerance=1.5)
        return [TrackedPoints(points=track.points, visible=track.visible) for track in tracks]


class _PartialTrack:
    """The tracks of query points up to the current frame."""

    def __init__(self, queries: QueryPoints) -> None:
        self.queries = queries
        self.points = np.repeat(queries.points[None], queries.length, 0)
        self.visible = np.zeros(self.points.shape[:2], bool)
        self.visible[0] = True

    def is_open_at(self, frame: int) -> bool:
        last = self.queries.start + self.queries.length - 1
        return len(self.queries.points) > 0 and self.queries.start <= frame < last

    def at(self, frame: int) -> Points:
        return np.asarray(self.points[frame - self.queries.start])

    def guess_step(self, frame: int) -> Points:
        """The commanded motion ``(N, 2)`` px from ``frame`` to the next."""
        guess, k = self.queries.guess, frame - self.queries.start
        assert guess is not None
        return np.asarray(guess[k + 1] - guess[k])

    def extend(self, frame: int, points: Points, visible: Mask) -> None:
        self.points[frame - self.queries.start] = points
        self.visible[frame - self.queries.start] = visible


class _Step:
    """Two neighboring frames and the dense flow between them in both directions."""

    def __init__(self, before: Image, after: Image, dense: cv2.DISOpticalFlow) -> None:
        self.before, self.after = before, after
        can_flow = min(before.shape) >= 32  # OpenCV may crash on smaller images: a pyramid level below the patch size
        self.forward = dense.calc(before, after, None) if can_flow else np.zeros((*before.shape, 2), np.float32)
        self.backward = dense.calc(after, before, None) if can_flow else np.zeros((*before.shape, 2), np.float32)

    def advance(self, tracks: Sequence[_PartialTrack], frame: int, *, patch: int, tolerance: float) -> None:
        """Extend every open track from ``frame`` to the next."""
        tracks = [track for track in tracks if track.is_open_at(frame)]
        if not tracks:
            return
        points = np.concatenate([track.at(frame) for track in tracks])
        limit = tolerance * max(0.25, 0.6 * self.before.shape[0] / REFERENCE_ROWS)
        moved, visible, dissimilarity = self._track_once(points, None, patch, limit)
        if all(track.queries.guess is not None for track in tracks):
            predicted = np.concatenate([track.guess_step(frame) for track in tracks])
            guided, visible_guided, dissimilarity_guided = self._track_once(points, predicted, patch, limit)
            better = visible_guided & (~visible | (dissimilarity_guided < dissimilarity))
            moved, visible = np.where(better[:, None], guided, moved), visible | visible_guided
        parts = np.cumsum([len(track.queries.points) for track in tracks])[:-1]
        for track, to, is_visible in zip(tracks, np.split(moved, parts), np.split(visible, parts), strict=True):
            track.extend(frame + 1, to.astype(np.float32), is_visible.astype(np.bool_))

    def _track_once(
        self, points: Points, predicted: Points | None, patch: int, limit: float
    ) -> tuple[Points, Mask, Points]:
        """Track ``points``, initialized by dense flow or by the ``predicted`` step.

        Returns the new positions, whether tracking backward returns to the start, and the dissimilarity of the patches.
        """
        forward_step = values_at(self.forward, points) if predicted is None else predicted
        moved, dissimilarity = _lucas_kanade(self.before, self.after, points, forward_step, patch)
        backward_step = values_at(self.backward, moved) if predicted is None else -predicted
        back, _ = _lucas_kanade(self.after, self.before, moved, backward_step, patch)
        return moved, np.linalg.norm(back - points, axis=1) < limit, dissimilarity


def _lucas_kanade(before: Image, after: Image, points: Points, step: Points, patch: int) -> tuple[Points, Points]:
    """Positions of ``points`` in the frame ``after``, searched from ``points + step``, and the patch dissimilarities.

    Points that fail get a position outside of the image.
    """
    start = np.ascontiguousarray(points + step, np.float32)
    moved, status, dissimilarity = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        points.reshape(-1, 1, 2),
        start.reshape(-1, 1, 2),
        winSize=(patch, patch),
        maxLevel=1,
        criteria=(cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 0.01),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        minEigThreshold=1e-4,
    )
    return np.where(status > 0, moved[:, 0], -1e3).astype(np.float32), np.asarray(dissimilarity[:, 0], np.float32)


def _patch_size(height: int) -> int:
    """Side in px of the patch that Lucas-Kanade compares."""
    if height <= 64:
        return 9
    return 13 if height <= 128 else 17
