"""The value of a baseline as a Measure: higher is worse, even if the published score is a quality."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from driveforge.validation.records import DEGENERATE, Measure, Sample

FAMILY = "baselines"


def baseline_measure(
    name: str, unit: str, samples: Sequence[Sample], reason: str, reduce: Callable[[list[float]], np.floating[Any]]
) -> Measure:
    """Reduce the samples to one value, with the frames of the worst sample."""
    if not samples:
        return _measure(name, unit, None, reason)
    value = float(reduce([sample.value for sample in samples]))
    if not np.isfinite(value):
        return _measure(name, unit, None, DEGENERATE)
    return _measure(name, unit, value, frames=max(samples, key=lambda sample: sample.value).frames)


def _measure(name: str, unit: str, value: float | None, reason: str = "", frames: tuple[int, ...] = ()) -> Measure:
    state: Literal["measured", "unmeasurable"] = "unmeasurable" if value is None else "measured"
    return Measure(name=name, family=FAMILY, unit=unit, value=value, state=state, reason=reason, frames=frames)
