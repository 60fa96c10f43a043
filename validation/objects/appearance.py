"""Steps in which the appearance of an object changes."""

from collections.abc import Mapping

from driveforge.validation.faces.comparison import STEP, FaceSeries
from driveforge.validation.objects.outlier_score import outlier_score


def appearance_changes(series: FaceSeries) -> dict[int, float]:
    """By frame, the least difference (at most 1) between an object's faces in it and ``STEP`` frames later."""
    return {frame: min(1.0, *(one.difference for one in series[frame])) for frame in sorted(series)}


def appearance_outliers(changes: Mapping[int, float]) -> dict[int, float]:
    """By frame, the outlier score of the change of appearance at its start.

    Both comparisons that span this moment must show the change.
    """
    frames, values = list(changes), list(changes.values())
    outlier_scores = {
        frame + STEP: outlier_score(values, i, width=STEP)
        for i, frame in enumerate(frames[:-1])
        if frames[i + 1] == frame + 1
    }
    return {frame: score for frame, score in outlier_scores.items() if score is not None}
