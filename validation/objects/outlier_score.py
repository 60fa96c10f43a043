"""Outliers in a series over time, compared with the quieter of the two sides."""

from collections.abc import Sequence

MIN_SIDE = 3


def outlier_score(values: Sequence[float], at: int, width: int = 1) -> float | None:
    """The minimum of ``values[at : at + width]`` minus the maximum on the quieter of the two sides.

    The values next to the run belong to neither side. None if both sides have fewer than ``MIN_SIDE`` values. A series
    that always varies, such as the clothes of a pedestrian, gets low scores; a permanent change gets a high score when
    it happens, since one side is still quiet.
    """
    before, after = values[: max(at - 1, 0)], values[at + width + 1 :]
    sides = [max(side) for side in (before, after) if len(side) >= MIN_SIDE]
    return min(values[at : at + width]) - min(sides) if sides else None
