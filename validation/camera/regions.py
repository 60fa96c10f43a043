"""Medians by image region: an error in a single region hardly changes the median over all tracks."""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.protocol import Points

ROWS, COLUMNS = 2, 3
MIN_TRACKS = 6


def region_medians(points: Points | Array, values: Array, image_size: tuple[int, int]) -> list[float]:
    """The median of ``values`` ``(N,)`` in every region with enough of the image ``points`` ``(N, 2)`` px.

    ``image_size`` is width, height in px. Empty if there are fewer than two such regions.
    """
    column, row = (np.clip(points / np.array(image_size), 0, 0.999) * [COLUMNS, ROWS]).astype(int).T
    region = row * COLUMNS + column
    members = [values[region == r] for r in range(ROWS * COLUMNS)]
    medians = [float(np.median(group)) for group in members if len(group) >= MIN_TRACKS]
    return medians if len(medians) > 1 else []
