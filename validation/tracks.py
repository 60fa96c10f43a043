"""Points followed through a view: Shi-Tomasi corners over background and boxes, and what a tracker made of them.

Windows of a few frames are seeded anew again and again, so that a track lost to an occlusion costs a window, no more.

Source: Shi and Tomasi, "Good features to track" (CVPR 1994).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from validation.boxes import Boxes
from validation.carried import carried_by_box
from validation.pixels import values_at
from validation.trackers.lucas_kanade import LucasKanade
from validation.trackers.protocol import BACKGROUND as BACKGROUND
from validation.trackers.protocol import Followed, PointTracker, Seeds
from validation.trackers.protocol import Mask as Mask
from validation.trackers.protocol import Points as Points
from validation.view import Command, View

WINDOW, STRIDE = 8, 4
OBJECT_WINDOW, OBJECT_STRIDE = 5, 2
BUCKET_ROWS, BUCKET_COLUMNS, CORNERS_PER_BUCKET = 4, 6, 13
CORNERS_PER_OBJECT = 24
MIN_EIGENVALUE = 2e-5
BORDER = 3  # px: no seeds closer to the edge, where gradients are made up
LUCAS_KANADE: PointTracker = LucasKanade()

Image = NDArray[np.uint8]


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


def track_view(view: View, boxes: Boxes | None, tracker: PointTracker = LUCAS_KANADE) -> Tracks:
    """Follow background and object points through all frames of a view."""
    background = list(_background_seeds(view.grey, boxes))
    objects = list(_object_seeds(view, view.command, boxes)) if boxes and view.command else []
    followed = tracker.follow(view, [*background, *objects])
    hidden = _hidden(view, boxes) if boxes else None
    shape, count = view.grey.shape[1:], len(background)
    return Tracks(
        background=tuple(_window(s, f, shape, hidden) for s, f in zip(background, followed[:count], strict=True)),
        objects=tuple(_window(s, f, shape, None) for s, f in zip(objects, followed[count:], strict=True)),
    )


def _hidden(view: View, boxes: Boxes) -> Image:
    """Masks ``(T, H, W)`` of boxes and their shadows; the first frame, to which no track leads, is left empty."""
    shape = (view.grey.shape[1], view.grey.shape[2])
    masks = [boxes.mask_with_shadows(t, shape) for t in range(1, view.num_frames)]
    return np.stack([np.zeros(shape, np.uint8), *masks])


def _window(seeds: Seeds, followed: Followed, shape: tuple[int, ...], hidden: Image | None) -> Window:
    """Tracks end where they are not kept, leave the image or go under ``hidden``."""
    height, width = shape
    points = followed.points.copy()
    in_view = ((points > 1) & (points < [width - 2, height - 2])).all(-1)
    if hidden is not None:
        for k in range(1, seeds.length):
            in_view[k] &= values_at(hidden[seeds.start + k], points[k]) == 0
    alive = followed.kept & in_view
    alive[0] = True
    alive = np.logical_and.accumulate(alive, axis=0)
    lost = np.zeros_like(alive)
    lost[1:] = alive[:-1] & ~followed.kept[1:] & in_view[1:]
    for k in range(1, seeds.length):
        points[k] = np.where(alive[k, :, None], points[k], points[k - 1])
    return Window(start=seeds.start, points=points, alive=alive, lost=lost, owner=seeds.owner)


def _background_seeds(grey: NDArray[np.uint8], boxes: Boxes | None) -> Iterator[Seeds]:
    shape = (grey.shape[1], grey.shape[2])
    margin = max(3, shape[0] // 32) | 1
    for start, length in _windows(len(grey), WINDOW, STRIDE):
        covered = boxes.mask_with_shadows(start, shape) if boxes else np.zeros(shape, np.uint8)
        corners = _bucketed_corners(grey[start], cv2.dilate(covered, np.ones((margin, margin), np.uint8)))
        yield Seeds(start=start, length=length, points=corners, owner=np.full(len(corners), BACKGROUND))


def _object_seeds(view: View, command: Command, boxes: Boxes) -> Iterator[Seeds]:
    for start, length in _windows(view.num_frames, OBJECT_WINDOW, OBJECT_STRIDE):
        judged = list(map(int, np.flatnonzero(boxes.judged[start] & boxes.judged[start + 1])))
        corners = [_object_corners(view.grey[start], boxes, start, j) for j in judged]
        if corners:
            guesses = [_guess(view, command, start, length, c, j) for c, j in zip(corners, judged, strict=True)]
            yield Seeds(
                start=start,
                length=length,
                points=np.concatenate(corners),
                owner=np.repeat(judged, list(map(len, corners))),
                guess=np.concatenate(guesses, 1),
            )


def _guess(view: View, command: Command, start: int, length: int, points: Points, owner: int) -> Points:
    """Where points go with their box ``(L, N, 2)`` px; those beside it stay in their place."""
    moved, hit = carried_by_box(view, command, start, length, points, owner)
    return np.where(hit[:, None], moved, points).clip(-1e4, 1e4).astype(np.float32)


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
