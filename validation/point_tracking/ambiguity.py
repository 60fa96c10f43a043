"""Points whose neighborhood repeats: hatched road markings, fences, windows, and points that slide along a line.

A tracker may jump by a period, to the same place from both sides, so that tracking backward does not find the error.
The patch around a point is therefore compared with its surroundings in its own frame: a second peak of the correlation
that is nearly as high as the patch itself is a place that the point can be mistaken for.

The idea is that of the ratio test (Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.validation.point_tracking.protocol import Mask, Points

# In an image of this many rows, which keeps the structure that patches of the tracker compare: pixels around the point
# that are compared, how far away a second peak is searched, and the nearest one that is not part of the first.
ROWS = 96
PATCH_RADIUS, SEARCH_RADIUS, PEAK_RADIUS = 3, 18, 3
MAX_SECOND_PEAK = 0.85
_NEIGHBORS = np.ones((3, 3), np.uint8)


def is_distinct(image: NDArray[np.uint8], points: Points) -> Mask:
    """Which ``points`` ``(N, 2)`` px of a gray ``image`` ``(H, W)`` have no second peak in their surroundings."""
    scale = min(1.0, ROWS / image.shape[0])
    size = tuple(max(1, round(scale * side)) for side in image.shape[::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    places = ((points + 0.5) * scale - 0.5).round().astype(int).clip(0, np.array(small.shape[::-1]) - 1)
    return np.array([not _has_second_peak(small, x, y) for x, y in places.tolist()], np.bool_)


def _has_second_peak(image: NDArray[np.uint8], x: int, y: int) -> bool:
    """Whether the correlation has a high local maximum away from the point itself."""
    top, left = max(y - PATCH_RADIUS, 0), max(x - PATCH_RADIUS, 0)
    first_row, first_column = max(y - SEARCH_RADIUS, 0), max(x - SEARCH_RADIUS, 0)
    patch = image[top : y + PATCH_RADIUS + 1, left : x + PATCH_RADIUS + 1]
    around = image[first_row : y + SEARCH_RADIUS + 1, first_column : x + SEARCH_RADIUS + 1]
    correlation = cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED)
    high = correlation > MAX_SECOND_PEAK
    row, column = max(top - first_row - PEAK_RADIUS, 0), max(left - first_column - PEAK_RADIUS, 0)
    high[row : top - first_row + PEAK_RADIUS + 1, column : left - first_column + PEAK_RADIUS + 1] = False
    if not high.any():
        return False
    # A ridge along an edge falls off from the point; only a peak of its own is another place.
    return bool((correlation[high] == cv2.dilate(correlation, _NEIGHBORS)[high]).any())
