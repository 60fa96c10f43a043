"""Long clips as windows: a limit holds for clips of about the length that it was made from, so no clip is longer."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.validation.covariates import Circumstances
from driveforge.validation.records import Measure, Measures

WINDOW = 24  # frames
LONGEST = 2 * WINDOW


def windows_of(num_frames: int) -> list[NDArray[np.int64]]:
    """The frames of each window: all in one up to ``LONGEST``, else evenly spread windows that overlap a little."""
    if num_frames <= LONGEST:
        return [np.arange(num_frames)]
    count = -(-num_frames // WINDOW)
    starts = np.linspace(0, num_frames - WINDOW, count).round().astype(np.int64)
    return [start + np.arange(WINDOW) for start in starts]


def worst_of(parts: Sequence[tuple[int, Measures]]) -> Measures:
    """Of each measure its largest value over the windows, which begin at the frame told; all of one clip.

    Circumstances are the medians of the windows'.
    """
    (_, first), *_ = parts
    around = [measures.circumstances for _, measures in parts if measures.circumstances]
    by_name: dict[str, list[Measure]] = {}
    for start, measures in parts:
        for m in measures.values:
            by_name.setdefault(m.name, []).append(replace(m, frames=tuple(start + frame for frame in m.frames)))
    return replace(
        first,
        values=tuple(max(of_name, key=_badness) for of_name in by_name.values()),
        circumstances=_middle(around) if around else None,
    )


def _badness(measure: Measure) -> float:
    return -np.inf if measure.value is None else measure.value


def _middle(around: Sequence[Circumstances]) -> Circumstances:
    numbers = {
        field.name: float(np.median([getattr(one, field.name) for one in around]))
        for field in fields(Circumstances)
        if field.name != "rig"
    }
    return Circumstances(rig=around[0].rig, **numbers)
