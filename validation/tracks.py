"""Points followed through a view: Shi-Tomasi corners, pyramidal Lucas-Kanade, checked forward and backward.

Windows of a few frames are seeded anew again and again, so that a track lost to an occlusion costs a window, no more.
Dense inverse search (DIS) flow gives each step its start, so that fast motion is followed too.

Sources: Shi and Tomasi, "Good features to track" (CVPR 1994); Bouguet, "Pyramidal implementation of the Lucas Kanade
feature tracker" (2001); Kalal et al., "Forward-backward error" (ICPR 2010); Kroeger et al., "Fast optical flow using
dense inverse search" (ECCV 2016).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from validation.boxes import Boxes
from validation.view import REFERENCE_ROWS, View

BACKGROUND = -1
WINDOW, STRIDE = 8, 4
OBJECT_WINDOW, OBJECT_STRIDE = 5, 2
BUCKET_ROWS, BUCKET_COLUMNS, CORNERS_PER_BUCKET = 4, 6, 13
CORNERS_PER_OBJECT = 24
MIN_EIGENVALUE = 2e-5
BORDER = 3  # px: no seeds closer to the edge, where gradients are made up

Points = NDArray[np.float32]
Mask = NDArray[np.bool_]
Image = NDArray[np.uint8]
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Window:
    """``N`` points followed from frame ``start`` through ``L`` frames.

    ``points`` ``(L, N, 2)`` px hold still once a track ends; ``alive`` ``(L, N)``; ``lost`` ``(L, N)``: the track ended
    in this frame because it failed the check (and not because it left the image or went behind a box). ``owner``
    ``(N,)`` is the index of the track in whose box a point was seeded, or ``BACKGROUND``.
    """

    start: int
    points: Points
    alive: Mask
    lost: Mask
    owner: NDArray[np.int64]

    @property
    def length(self) -> int:
        return len(self.points)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tracks:
    """Windows over the background, and windows over the objects' boxes."""

    background: tuple[Window, ...]
    objects: tuple[Window, ...]

    def steps(self) -> Iterator[tuple[int, Window]]:
        """Every pair of neighbouring frames once: ``(k, window)`` is the step to frame ``window.start + k``."""
        for window in self.background:
            last = window is self.background[-1]
            yield from ((k, window) for k in range(1, window.length if last else min(STRIDE + 1, window.length)))


def track_view(view: View, boxes: Boxes | None) -> Tracks:
    """Follow background and object points through all frames of a view."""
    background = list(_background_seeds(view.grey, boxes))
    objects = list(_object_seeds(view.grey, boxes)) if boxes else []
    shape = view.grey.shape[1:]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    for t in range(view.num_frames - 1):
        step = _Step(view.grey[t], view.grey[t + 1], flow)
        hidden = boxes.mask(t + 1, (shape[0], shape[1])) if boxes else None
        step.advance(background, t, window=_window_size(shape[0]), tolerance=1.0, hidden=hidden)
        step.advance(objects, t, window=max(7, _window_size(shape[0]) - 6), tolerance=1.5, hidden=None)
    return Tracks(background=tuple(t.window() for t in background), objects=tuple(t.window() for t in objects))


class _Trail:
    """A window that is still growing."""

    def __init__(self, start: int, seeds: Points, owner: NDArray[np.int64], length: int) -> None:
        self.start, self.owner = start, owner
        self.points = np.repeat(seeds[None], length, 0)
        self.alive = np.zeros((length, len(seeds)), bool)
        self.lost = np.zeros((length, len(seeds)), bool)
        self.alive[0] = True

    def is_open_at(self, frame: int) -> bool:
        return self.start <= frame < self.start + len(self.points) - 1

    def extend(self, frame: int, points: Points, followed: Mask, in_view: Mask) -> None:
        k = frame - self.start
        self.alive[k] = self.alive[k - 1] & followed & in_view
        self.lost[k] = self.alive[k - 1] & ~followed & in_view
        self.points[k] = np.where(self.alive[k, :, None], points, self.points[k - 1])

    def window(self) -> Window:
        return Window(start=self.start, points=self.points, alive=self.alive, lost=self.lost, owner=self.owner)


class _Step:
    """Two neighbouring frames and the dense flow between them, both ways."""

    def __init__(self, before: Image, after: Image, dense: cv2.DISOpticalFlow) -> None:
        self.before, self.after = before, after
        can_flow = min(before.shape) >= 16  # smaller images have no pyramid for dense flow
        self.forward = dense.calc(before, after, None) if can_flow else np.zeros((*before.shape, 2), np.float32)
        self.backward = dense.calc(after, before, None) if can_flow else np.zeros((*before.shape, 2), np.float32)

    def advance(
        self, trails: Sequence[_Trail], frame: int, *, window: int, tolerance: float, hidden: Image | None
    ) -> None:
        """Carry every open trail from ``frame`` to the next; tracks under ``hidden`` end there."""
        trails = [trail for trail in trails if trail.is_open_at(frame) and len(trail.owner)]
        if not trails:
            return
        points = np.concatenate([trail.points[frame - trail.start] for trail in trails])
        moved = _lucas_kanade(self.before, self.after, points, self.forward, window)
        back = _lucas_kanade(self.after, self.before, moved, self.backward, window)
        height, width = self.before.shape
        limit = tolerance * max(0.25, 0.6 * height / REFERENCE_ROWS)
        followed = np.linalg.norm(back - points, axis=1) < limit
        in_view = ((moved > 1) & (moved < [width - 2, height - 2])).all(1)
        if hidden is not None:
            in_view &= _at(hidden, moved) == 0
        parts = np.cumsum([len(trail.owner) for trail in trails])[:-1]
        for trail, *of_trail in zip(
            trails, np.split(moved, parts), np.split(followed, parts), np.split(in_view, parts), strict=True
        ):
            trail.extend(frame + 1, *of_trail)


def _lucas_kanade(before: Image, after: Image, points: Points, flow: NDArray[np.float32], window: int) -> Points:
    """``points`` carried to the frame ``after``; where that fails they land outside the image."""
    start = np.ascontiguousarray(points + _at(flow, points))
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        points.reshape(-1, 1, 2),
        start.reshape(-1, 1, 2),
        winSize=(window, window),
        maxLevel=1,
        criteria=(cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 0.01),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        minEigThreshold=1e-4,
    )
    return np.where(status > 0, moved[:, 0], -1e3).astype(np.float32)


def _at(image: NDArray[_T], points: Points) -> NDArray[_T]:
    """Values of an image at the pixels nearest to ``points``."""
    height, width = image.shape[:2]
    x, y = np.round(points).astype(int).T
    return np.asarray(image[y.clip(0, height - 1), x.clip(0, width - 1)])


def _window_size(height: int) -> int:
    """Side in px of the patch that Lucas-Kanade compares."""
    return 9 if height <= 64 else 13 if height <= 128 else 17


def _background_seeds(grey: NDArray[np.uint8], boxes: Boxes | None) -> Iterator[_Trail]:
    shape = (grey.shape[1], grey.shape[2])
    margin = max(3, shape[0] // 32) | 1
    for start, length in _windows(len(grey), WINDOW, STRIDE):
        covered = boxes.mask(start, shape) if boxes else np.zeros(shape, np.uint8)
        seeds = _bucketed_corners(grey[start], cv2.dilate(covered, np.ones((margin, margin), np.uint8)))
        yield _Trail(start, seeds, np.full(len(seeds), BACKGROUND), length)


def _object_seeds(grey: NDArray[np.uint8], boxes: Boxes) -> Iterator[_Trail]:
    for start, length in _windows(len(grey), OBJECT_WINDOW, OBJECT_STRIDE):
        judged = np.flatnonzero(boxes.judged[start] & boxes.judged[start + 1])
        corners = [_object_corners(grey[start], boxes, start, int(j)) for j in judged]
        if corners:
            yield _Trail(start, np.concatenate(corners), np.repeat(judged, list(map(len, corners))), length)


def _windows(num_frames: int, length: int, stride: int) -> Iterable[tuple[int, int]]:
    """Start and length of every window; the last ones are shorter, of two frames at least."""
    starts = range(0, max(num_frames - 1, 0), stride)
    return ((s, min(length, num_frames - s)) for s in starts if s == 0 or num_frames - s > length - stride)


def _bucketed_corners(image: Image, covered: Image) -> Points:
    """The strongest corners ``(N, 2)`` px of each cell of a grid, so that no one textured spot speaks for all."""
    height, width = image.shape
    strength = cv2.cornerMinEigenVal(image, 5 if height <= 128 else 7)
    strength[covered > 0] = 0
    inner = np.zeros_like(strength)
    inner[BORDER:-BORDER, BORDER:-BORDER] = strength[BORDER:-BORDER, BORDER:-BORDER]
    spacing = max(3, height // 28) | 1
    peaks = (inner == cv2.dilate(inner, np.ones((spacing, spacing), np.uint8))) & (inner > MIN_EIGENVALUE)
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-inner[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    bucket = (rows * BUCKET_ROWS // height) * BUCKET_COLUMNS + columns * BUCKET_COLUMNS // width
    kept = [np.flatnonzero(bucket == b)[:CORNERS_PER_BUCKET] for b in range(BUCKET_ROWS * BUCKET_COLUMNS)]
    chosen = np.concatenate(kept)
    return np.asarray(np.stack([columns[chosen], rows[chosen]], 1), np.float32)


def _object_corners(image: Image, boxes: Boxes, frame: int, track: int) -> Points:
    """Corners ``(N, 2)`` px on what is seen of one box."""
    height, width = image.shape
    x0, y0, x1, y1 = boxes.rectangle[frame, track]
    left, top = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
    crop = np.s_[top : min(int(y1) + 2, height), left : min(int(x1) + 2, width)]
    mask = np.ascontiguousarray(boxes.mask_of(frame, track, (height, width))[crop])
    spacing = max(1.5, (y1 - y0) / 12)
    patch = np.ascontiguousarray(image[crop])
    found = cv2.goodFeaturesToTrack(patch, CORNERS_PER_OBJECT, 0.02, spacing, mask=mask, blockSize=3)
    if found is None:
        return np.zeros((0, 2), np.float32)
    return np.asarray(found[:, 0] + [left, top], np.float32)
