"""Pyramidal Lucas-Kanade, started by dense inverse search (DIS) flow so that fast motion is followed too.

Dense flow loses small objects that cross fast, so points on objects start from their commanded motion as well; of two
answers the one counts whose patch is more alike. A step is kept where the way back ends where it began. The flow of a
step is shared by all points that take it.

Sources: Bouguet, "Pyramidal implementation of the Lucas Kanade feature tracker" (2001); Kalal et al., "Forward-backward
error" (ICPR 2010); Kroeger et al., "Fast optical flow using dense inverse search" (ECCV 2016).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.validation import records
from driveforge.validation.point_tracking.protocol import Followed, Mask, Points, Seeds
from driveforge.validation.views.pixels import values_at
from driveforge.validation.views.view import REFERENCE_ROWS, View

Image = NDArray[np.uint8]


class LucasKanade:
    """The tracker that needs no weights."""

    name = records.LUCAS_KANADE

    def follow(self, view: View, seeds: Sequence[Seeds]) -> list[Followed]:
        trails = [_Trail(one) for one in seeds]
        on_objects = [trail for trail in trails if trail.seeds.are_on_objects]
        on_background = [trail for trail in trails if not trail.seeds.are_on_objects]
        patch = _patch_size(view.grey.shape[1])
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        for t in range(view.num_frames - 1):
            step = _Step(view.grey[t], view.grey[t + 1], flow)
            step.advance(on_background, t, patch=patch, tolerance=1.0)
            step.advance(on_objects, t, patch=max(7, patch - 6), tolerance=1.5)
        return [Followed(points=trail.points, kept=trail.kept) for trail in trails]


class _Trail:
    """Seeds on their way."""

    def __init__(self, seeds: Seeds) -> None:
        self.seeds = seeds
        self.points = np.repeat(seeds.points[None], seeds.length, 0)
        self.kept = np.zeros(self.points.shape[:2], bool)
        self.kept[0] = True

    def is_open_at(self, frame: int) -> bool:
        return len(self.seeds.points) > 0 and self.seeds.start <= frame < self.seeds.start + self.seeds.length - 1

    def at(self, frame: int) -> Points:
        return np.asarray(self.points[frame - self.seeds.start])

    def guessed_step(self, frame: int) -> Points:
        """The motion ``(N, 2)`` px that the command tells from ``frame`` to the next."""
        guess, k = self.seeds.guess, frame - self.seeds.start
        assert guess is not None
        return np.asarray(guess[k + 1] - guess[k])

    def extend(self, frame: int, points: Points, kept: Mask) -> None:
        self.points[frame - self.seeds.start] = points
        self.kept[frame - self.seeds.start] = kept


class _Step:
    """Two neighbouring frames and the dense flow between them, both ways."""

    def __init__(self, before: Image, after: Image, dense: cv2.DISOpticalFlow) -> None:
        self.before, self.after = before, after
        can_flow = min(before.shape) >= 32  # below, OpenCV may choose a pyramid that is flatter than a patch, and crash
        self.forward = dense.calc(before, after, None) if can_flow else np.zeros((*before.shape, 2), np.float32)
        self.backward = dense.calc(after, before, None) if can_flow else np.zeros((*before.shape, 2), np.float32)

    def advance(self, trails: Sequence[_Trail], frame: int, *, patch: int, tolerance: float) -> None:
        """Carry every open trail from ``frame`` to the next."""
        trails = [trail for trail in trails if trail.is_open_at(frame)]
        if not trails:
            return
        points = np.concatenate([trail.at(frame) for trail in trails])
        limit = tolerance * max(0.25, 0.6 * self.before.shape[0] / REFERENCE_ROWS)
        moved, kept, unlike = self._try(points, None, patch, limit)
        if all(trail.seeds.guess is not None for trail in trails):
            told = np.concatenate([trail.guessed_step(frame) for trail in trails])
            as_told, kept_as_told, unlike_as_told = self._try(points, told, patch, limit)
            better = kept_as_told & (~kept | (unlike_as_told < unlike))
            moved, kept = np.where(better[:, None], as_told, moved), kept | kept_as_told
        parts = np.cumsum([len(trail.seeds.points) for trail in trails])[:-1]
        for trail, to, stays in zip(trails, np.split(moved, parts), np.split(kept, parts), strict=True):
            trail.extend(frame + 1, to.astype(np.float32), stays.astype(np.bool_))

    def _try(self, points: Points, told: Points | None, patch: int, limit: float) -> tuple[Points, Mask, Points]:
        """Where ``points`` went, sought along dense flow or the step that was ``told``; who came back; how unlike."""
        there = values_at(self.forward, points) if told is None else told
        moved, unlike = _lucas_kanade(self.before, self.after, points, there, patch)
        home = values_at(self.backward, moved) if told is None else -told
        back, _ = _lucas_kanade(self.after, self.before, moved, home, patch)
        return moved, np.linalg.norm(back - points, axis=1) < limit, unlike


def _lucas_kanade(before: Image, after: Image, points: Points, step: Points, patch: int) -> tuple[Points, Points]:
    """``points`` carried to the frame ``after``, sought from ``points + step``, and how unlike their patches are.

    Where that fails they land outside the image.
    """
    start = np.ascontiguousarray(points + step, np.float32)
    moved, status, unlike = cv2.calcOpticalFlowPyrLK(
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
    return np.where(status > 0, moved[:, 0], -1e3).astype(np.float32), np.asarray(unlike[:, 0], np.float32)


def _patch_size(height: int) -> int:
    """Side in px of the patch that Lucas-Kanade compares."""
    return 9 if height <= 64 else 13 if height <= 128 else 17
