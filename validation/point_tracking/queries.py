"""Query points: Shi-Tomasi corners on the background and on boxes, selected again every few frames.

A track that is lost to an occlusion is therefore missing in one window only.

Source: Shi and Tomasi, "Good features to track" (CVPR 1994).
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.validation.point_tracking.ambiguity import is_distinct
from driveforge.validation.point_tracking.box_motion import BoxMotion, concatenate_box_motions, predict_box_motion
from driveforge.validation.point_tracking.protocol import BACKGROUND, Points, QueryPoints
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import CommandedCamera, View

WINDOW, STRIDE = 8, 4
OBJECT_WINDOW, OBJECT_STRIDE = 5, 2
BUCKET_ROWS, BUCKET_COLUMNS, CORNERS_PER_BUCKET = 4, 6, 13
CORNERS_PER_OBJECT = 24
MIN_EIGENVALUE = 2e-5
BORDER = 3  # px: no query points closer to the edge, where gradients are extrapolated

Image = NDArray[np.uint8]


def background_queries(gray: NDArray[np.uint8], covered: NDArray[np.uint8]) -> Iterator[QueryPoints]:
    """The query points of every window outside of ``covered`` pixels; both arrays are ``(T, H, W)``."""
    margin = max(3, gray.shape[1] // 32) | 1
    for start, length in _windows(len(gray), WINDOW, STRIDE):
        corners = _bucketed_corners(gray[start], cv2.dilate(covered[start], np.ones((margin, margin), np.uint8)))
        corners = corners[is_distinct(gray[start], corners)]
        yield QueryPoints(start=start, length=length, points=corners, box_index=np.full(len(corners), BACKGROUND))


def object_queries(view: View, command: CommandedCamera, boxes: Boxes) -> Iterator[tuple[QueryPoints, BoxMotion]]:
    """The query points of every window on the sufficiently visible boxes, and their commanded motion."""
    for start, length in _windows(view.num_frames, OBJECT_WINDOW, OBJECT_STRIDE):
        judged = list(map(int, np.flatnonzero(boxes.judged[start] & boxes.judged[start + 1])))
        if not judged:
            continue
        corners = [_object_corners(view.gray[start], boxes, start, j) for j in judged]
        box_motion = concatenate_box_motions(
            [predict_box_motion(view, command, start, length, c, j) for c, j in zip(corners, judged, strict=True)]
        )
        points = np.concatenate(corners)
        queries = QueryPoints(
            start=start,
            length=length,
            points=points,
            box_index=np.repeat(judged, list(map(len, corners))),
            guess=_guess(points, box_motion),
        )
        yield queries, box_motion


def _guess(points: Points, box_motion: BoxMotion) -> Points:
    """Positions ``(L, N, 2)`` px of points that move with their box; points off the box stay in place."""
    return np.where(box_motion.hit[:, None], box_motion.points, points).clip(-1e4, 1e4).astype(np.float32)


def _windows(num_frames: int, length: int, stride: int) -> Iterable[tuple[int, int]]:
    """Start and length of every window; the last ones are shorter, with at least two frames."""
    starts = range(0, max(num_frames - 1, 0), stride)
    return ((s, min(length, num_frames - s)) for s in starts if s == 0 or num_frames - s > length - stride)


def _bucketed_corners(image: Image, covered: Image) -> Points:
    """The strongest corners ``(N, 2)`` px of each cell of a grid, so that they cover the whole image."""
    height, width = image.shape
    strength = cv2.cornerMinEigenVal(image, 5 if height <= 128 else 7)
    strength[covered > 0] = 0
    inner = np.zeros_like(strength)
    inner[BORDER:-BORDER, BORDER:-BORDER] = strength[BORDER:-BORDER, BORDER:-BORDER]
    spacing = max(3, height // 28) | 1
    # A corner is a local maximum: equal to its dilation over the neighborhood.
    peaks = (inner == cv2.dilate(inner, np.ones((spacing, spacing), np.uint8))) & (inner > MIN_EIGENVALUE)
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-inner[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    bucket = (rows * BUCKET_ROWS // height) * BUCKET_COLUMNS + columns * BUCKET_COLUMNS // width
    kept = [np.flatnonzero(bucket == b)[:CORNERS_PER_BUCKET] for b in range(BUCKET_ROWS * BUCKET_COLUMNS)]
    chosen = np.concatenate(kept)
    return np.asarray(np.stack([columns[chosen], rows[chosen]], 1), np.float32)


def _object_corners(image: Image, boxes: Boxes, frame: int, track: int) -> Points:
    """Corners ``(N, 2)`` px on the visible part of one box."""
    height, width = image.shape
    x0, y0, x1, y1 = boxes.rectangle[frame, track]
    left, top = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
    crop = np.s_[top : min(int(y1) + 2, height), left : min(int(x1) + 2, width)]
    mask = np.ascontiguousarray(boxes.track_mask(frame, track, (height, width))[crop])
    spacing = max(1.5, (y1 - y0) / 12)
    patch = np.ascontiguousarray(image[crop])
    found = cv2.goodFeaturesToTrack(patch, CORNERS_PER_OBJECT, 0.02, spacing, mask=mask, blockSize=3)
    if found is None:
        return np.zeros((0, 2), np.float32)
    return np.asarray(found[:, 0] + [left, top], np.float32)
