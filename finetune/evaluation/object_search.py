"""Search for an object of the true clip in each frame of a generated one.

In small, blurred frames, point tracks are lost within a few frames, whole objects are not. Its patch is matched by the
sum of squared differences, as the share of the patch's variance that the match explains (1 is equality). Unlike a
correlation, this detects a wrong color and a missing contrast: at thresholds that lose equally few objects, 15 % of
objects that were painted over count as found instead of 35 %. Two patches are tried, the object in the last context
frame and in the true frame, because a model may have kept its appearance or rotated and scaled it correctly. The search
region covers the last found position, the true position, and everything between.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.finetune.evaluation.targets import Target

# Explained share from which an object counts as found. Of 66 simulated objects it loses 0 % after encoding and decoding
# by the VAE, 2 % if blurred by 2.5 px and 9 % if displaced, and it finds 15 % of those painted over.
MIN_SCORE = 0.4
SEARCH_MARGIN = 0.1  # of the image rows, around the last and the true position
PATCH_MARGIN = 0.12  # of the box: a border of the patch that includes the outline

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObjectSearchResult:
    """``offset`` ``(T, 2)`` px from the true to the found center; ``score`` ``(T,)``; ``found`` ``(T,)``.

    In a searched frame without a match, ``offset`` is that of the last found position.
    """

    offset: Array
    score: Array
    found: NDArray[np.bool_]


def search_object(target: Target, true: Image, generated: Image) -> ObjectSearchResult:
    """Search ``target`` in ``generated``; ``true`` and ``generated`` are ``(T, H, W, 3)`` uint8 frames of one clip."""
    num_frames, height = generated.shape[:2]
    offset, score = np.zeros((num_frames, 2)), np.zeros(num_frames)
    last = target.center[target.start]
    first_patch = _patch(true[target.start], target, target.start)
    for t in np.flatnonzero(target.judged):
        matches = [
            _match(generated[t], patch, corner, target.center[frame], (last, target.center[t]), SEARCH_MARGIN * height)
            for patch, corner, frame in ((*_patch(true[t], target, t), t), (*first_patch, target.start))
        ]
        score[t], position = max(matches, key=lambda match: match[0])
        if score[t] >= MIN_SCORE:
            last = position
        offset[t] = last - target.center[t]
    return ObjectSearchResult(offset=offset, score=score, found=target.judged & (score >= MIN_SCORE))


def _patch(image: Image, target: Target, t: int) -> tuple[Image, Array]:
    """The pixels of the object with a margin, and their upper left corner ``(2,)`` px."""
    height, width = image.shape[:2]
    low, high = target.rectangle[t, :2], target.rectangle[t, 2:]
    margin = PATCH_MARGIN * (high - low)
    x0, y0 = np.maximum(np.floor(low - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + margin) + 1, [width, height]).astype(int)
    return np.ascontiguousarray(image[y0:y1, x0:x1]), np.array([x0, y0], np.float64)


def _match(
    image: Image, patch: Image, corner: Array, center: Array, positions: tuple[Array, Array], margin: float
) -> tuple[float, Array]:
    """The largest explained share of ``patch`` around ``positions``, and the center ``(2,)`` px of the object there."""
    rows, columns = patch.shape[:2]
    to_corner = corner - center
    low = np.floor(np.minimum(*positions) + to_corner - margin).astype(int)
    high = np.ceil(np.maximum(*positions) + to_corner + margin).astype(int) + np.array([columns, rows])
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, [image.shape[1], image.shape[0]])
    if x1 - x0 < columns or y1 - y0 < rows:
        return -1.0, center
    differences = cv2.matchTemplate(np.ascontiguousarray(image[y0:y1, x0:x1]), patch, cv2.TM_SQDIFF)
    # 1 - (sum of squared differences) / (sum of squares of the patch around its mean), as in R^2.
    scores = 1 - differences / max(float(patch.var((0, 1)).sum()) * rows * columns, 1.0)
    _, best, _, (x, y) = cv2.minMaxLoc(scores)
    peak = np.array([x0 + x + _parabola_peak(scores[y], x), y0 + y + _parabola_peak(scores[:, x], y)])
    return float(best), peak - to_corner


def _parabola_peak(scores: NDArray[np.float32], k: int) -> float:
    """The subpixel offset from ``k``, within half a pixel, at which the parabola through three scores is highest."""
    if not 0 < k < len(scores) - 1:
        return 0.0
    before, at, after = (float(scores[k + d]) for d in (-1, 0, 1))
    curvature = before - 2 * at + after
    return 0.0 if curvature >= 0 else float(np.clip((before - after) / (2 * curvature), -0.5, 0.5))
