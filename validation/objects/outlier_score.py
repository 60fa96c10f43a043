"""Moments at which something happens to an object: a series over time that rises above its calmer side."""

from collections.abc import Sequence

MIN_SIDE = 3


def outlier_score(values: Sequence[float], at: int, width: int = 1) -> float | None:
    """How far the least of ``values[at : at + width]`` lies above the largest on the calmer of its two sides.

    The values next to the run belong to neither side. None where both sides have fewer than ``MIN_SIDE`` values. What
    is always restless, such as a walker's clothes, does not stand out; what changes for good does, at that moment.
    """
    before, after = values[: max(at - 1, 0)], values[at + width + 1 :]
    sides = [max(side) for side in (before, after) if len(side) >= MIN_SIDE]
    return min(values[at : at + width]) - min(sides) if sides else None
