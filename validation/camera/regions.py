"""Medians by image region: an error in a single region hardly changes the median over all tracks.

A region alone is no proof: a pattern that repeats makes points hop to its next period, which one measure takes for
motion. So a region counts only as far as two independent measures agree on it.
"""

from collections.abc import Mapping

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.protocol import Points

ROWS, COLUMNS = 2, 3
MIN_TRACKS = 6


def region_medians(points: Points | Array, values: Array, image_size: tuple[int, int]) -> dict[int, float]:
    """The median of ``values`` ``(N,)`` in every region with enough of the image ``points`` ``(N, 2)`` px, by number.

    ``image_size`` is width, height in px. Regions are numbered row by row.
    """
    column, row = (np.clip(points / np.array(image_size), 0, 0.999) * [COLUMNS, ROWS]).astype(int).T
    region = row * COLUMNS + column
    members = {r: values[region == r] for r in range(ROWS * COLUMNS)}
    return {r: float(np.median(group)) for r, group in members.items() if len(group) >= MIN_TRACKS}


def worst_agreed(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """The largest value that both measures reach in the same region; None if fewer than two regions have both."""
    agreed = [min(one[region], other[region]) for region in one.keys() & other.keys()]
    return max(agreed) if len(agreed) > 1 else None
