"""Estimates with intervals: levels of an arm, and paired differences between arms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from driveforge.datasets.geometry import Array
from driveforge.pipelines.studies.downstream.arms import Arm
from driveforge.pipelines.studies.downstream.runs import RunResult

CONFIDENCE = 0.95
Z = 1.96
HELPS, HURTS, UNCLEAR = "helps", "hurts", "cannot tell"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether a difference helps or hurts, by its interval."""
        if self.low > 0:
            return HELPS
        return HURTS if self.high < 0 else UNCLEAR

    def format(self, form: str = "+.3f") -> str:
        return f"{self.mean:{form}} ({self.low:{form}} to {self.high:{form}})"


def level(results: Sequence[RunResult], arm: Arm, metric: str) -> Estimate:
    """The metric of an arm."""
    return estimate(_values(results, arm, metric))


def difference(results: Sequence[RunResult], arm: Arm, other: Arm, metric: str) -> Estimate:
    """By how much an arm is better than another, paired by seed and by resample of the test clips."""
    return estimate(_values(results, arm, metric) - _values(results, other, metric))


def estimate(values: Array) -> Estimate:
    """The mean of ``values`` ``(S, 1 + R)``: of S seeds, on all test clips and on R resamples of them.

    The half width of the interval joins, as a root of squares, that of Student's t over seeds and that of the bootstrap
    over test clips (of the mean over seeds), since both are independent sources of error.
    """
    num_seeds = len(values)
    over_seeds = t.ppf((1 + CONFIDENCE) / 2, num_seeds - 1) * values[:, 0].std(ddof=1) / np.sqrt(num_seeds)
    over_clips = Z * np.nanstd(values[:, 1:].mean(0))
    mean, half = float(values[:, 0].mean()), float(np.hypot(over_seeds, over_clips))
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def _values(results: Sequence[RunResult], arm: Arm, metric: str) -> Array:
    """Values ``(S, 1 + R)`` in the order of seeds."""
    runs = sorted((result for result in results if result.arm is arm), key=lambda result: result.seed)
    return np.stack([result.metrics[metric] for result in runs])
