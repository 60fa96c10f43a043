"""Long clips are split into windows: limits hold only for clips of about the length that they were fitted on."""

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.validation.covariates import ClipCovariates
from driveforge.validation.records import Measure, Measures

WINDOW_FRAMES = 24
MAX_WINDOW_FRAMES = 2 * WINDOW_FRAMES


def split_windows(num_frames: int) -> list[NDArray[np.int64]]:
    """The frames of each window: one window up to ``MAX_WINDOW_FRAMES``, else overlapping, evenly spaced windows."""
    if num_frames <= MAX_WINDOW_FRAMES:
        return [np.arange(num_frames)]
    count = math.ceil(num_frames / WINDOW_FRAMES)
    starts = np.linspace(0, num_frames - WINDOW_FRAMES, count).round().astype(np.int64)
    return [start + np.arange(WINDOW_FRAMES) for start in starts]


def merge_worst(parts: Sequence[tuple[int, Measures]]) -> Measures:
    """Merge the windows of one clip, each given with its first frame: the largest value of each measure.

    Covariates are the medians over the windows.
    """
    (_, first), *_ = parts
    covariates = [measures.covariates for _, measures in parts if measures.covariates]
    by_name: dict[str, list[Measure]] = {}
    for start, measures in parts:
        for m in measures.values:
            by_name.setdefault(m.name, []).append(replace(m, frames=tuple(start + frame for frame in m.frames)))
    return replace(
        first,
        values=tuple(max(same_name, key=_sort_key) for same_name in by_name.values()),
        covariates=_median_covariates(covariates) if covariates else None,
    )


def _sort_key(measure: Measure) -> float:
    return -np.inf if measure.value is None else measure.value


def _median_covariates(covariates: Sequence[ClipCovariates]) -> ClipCovariates:
    numbers = {
        field.name: float(np.median([getattr(one, field.name) for one in covariates]))
        for field in fields(ClipCovariates)
        if field.name != "rig"
    }
    return ClipCovariates(rig=covariates[0].rig, **numbers)
