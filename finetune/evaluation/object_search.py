"""Where an object of the true clip is in a generated one, frame by frame, or that it is gone.

Points are lost within frames in soft little pictures, a whole object is not: its patch is sought by the sum of squared
differences, told as the share of the patch's variation that the place explains (1 is equality). Unlike a correlation
this sees a wrong colour and a contrast that is not there: at thresholds that lose as few objects, 15 % of objects that
were painted over count as found instead of 35 %. The patch is taken as the object looked when it was last given and as
it truly looks in the frame that is searched, since a model may have kept it or have turned and scaled it rightly; both
hold for every model alike. The search covers where the object was last seen, where it truly is, and all between.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.finetune.evaluation.targets import Target

# Explained share from which an object counts as found. On 66 simulated objects it loses 0 % of those that the codec
# passed, 2 % of those blurred by 2.5 px and 9 % of those displaced, and finds 15 % of those painted over.
MIN_SCORE = 0.4
SEARCH_MARGIN = 0.1  # of the image's rows: how far beyond the last and the true place an object is looked for
PATCH_MARGIN = 0.12  # of the box: the rim of the patch around it, in which its outline lies

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObjectSearchResult:
    """``offset`` ``(T, 2)`` px from the true to the found centre; ``score`` ``(T,)``; ``found`` ``(T,)``.

    Where a judged object was not found, ``offset`` is that of the place where it was last seen.
    """

    offset: Array
    score: Array
    found: NDArray[np.bool_]


def search_object(target: Target, true: Image, generated: Image) -> ObjectSearchResult:
    """``true`` and ``generated`` are ``(T, H, W, 3)`` uint8 frames of one clip, given frames alike."""
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
    """The pixels of the object and a rim, and the corner ``(2,)`` px where they begin."""
    height, width = image.shape[:2]
    low, high = target.rectangle[t, :2], target.rectangle[t, 2:]
    rim = PATCH_MARGIN * (high - low)
    x0, y0 = np.maximum(np.floor(low - rim), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + rim) + 1, [width, height]).astype(int)
    return np.ascontiguousarray(image[y0:y1, x0:x1]), np.array([x0, y0], np.float64)


def _match(
    image: Image, patch: Image, corner: Array, center: Array, positions: tuple[Array, Array], margin: float
) -> tuple[float, Array]:
    """Largest explained share of ``patch`` near ``positions``, and the centre ``(2,)`` px of the object there."""
    rows, columns = patch.shape[:2]
    to_corner = corner - center
    low = np.floor(np.minimum(*positions) + to_corner - margin).astype(int)
    high = np.ceil(np.maximum(*positions) + to_corner + margin).astype(int) + np.array([columns, rows])
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, [image.shape[1], image.shape[0]])
    if x1 - x0 < columns or y1 - y0 < rows:
        return -1.0, center
    differences = cv2.matchTemplate(np.ascontiguousarray(image[y0:y1, x0:x1]), patch, cv2.TM_SQDIFF)
    scores = 1 - differences / max(float(patch.var((0, 1)).sum()) * rows * columns, 1.0)
    _, best, _, (x, y) = cv2.minMaxLoc(scores)
    peak = np.array([x0 + x + _parabola_peak(scores[y], x), y0 + y + _parabola_peak(scores[:, x], y)])
    return float(best), peak - to_corner


def _parabola_peak(scores: NDArray[np.float32], k: int) -> float:
    """Where, next to ``k``, the parabola through three scores is highest."""
    if not 0 < k < len(scores) - 1:
        return 0.0
    before, at, after = (float(scores[k + d]) for d in (-1, 0, 1))
    curvature = before - 2 * at + after
    return 0.0 if curvature >= 0 else float(np.clip((before - after) / (2 * curvature), -0.5, 0.5))
