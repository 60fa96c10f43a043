"""What a measure is on good clips, given their circumstances, and how surprising a value is.

A robust linear regression on the covariates says where the measure usually lies; above the 80 % point of what is left
over, an exponential tail (peaks over threshold, Pickands 1975) says how surprising a value is. The score of a value is
its excess over that point in mean excesses, so that scores of different measures compare, long tails or short. A rig
whose clips lie higher than those of all is allowed the difference, the more of it the more clips of it were seen: so a
little footage of a new camera keeps it from being judged by others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array
from driveforge.validation.catalog import DEFINITIONS, get_definition
from driveforge.validation.covariates import COVARIATES, ClipCovariates

MIN_VALUES = 6
CLIPS_PER_COVARIATE = 10
TAIL_QUANTILE = 0.8
# Of logarithms: a few clips that agree by chance must not make a limit of iron.
MIN_MEAN_EXCESS = 0.15
# Mean excess of a normal distribution above its 80 % point, in standard deviations.
_NORMAL_EXCESS = 0.558
# Clips of a rig at which it is allowed half of its difference: a random intercept, shrunk (Robinson 1991).
RIG_PRIOR_CLIPS = 5.0
_HUBER = 1.345
_RIDGE = 5.0

# Below these, differences mean nothing: they keep the logarithm away from zero.
_FLOORS = {
    "px": 0.1,
    "deg/s": 0.05,
    "deg": 0.05,
    "ratio": 0.1,
    "share": 0.02,
    "outlier score": 0.1,
    "size": 0.05,
    "log gain": 0.002,
    "log scale": 0.02,
    "m": 0.02,
}
_SHARE_UNITS = ("share", "outlier score")


@dataclass(frozen=True, kw_only=True, slots=True)
class CovariateScale:
    """How covariates are brought to one scale: their ``center`` and ``width`` on the clips that were fitted."""

    center: tuple[float, ...]
    width: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.center) == len(self.width) == len(COVARIATES):
            raise UserError(f"center and width need a number for each of {', '.join(COVARIATES)}")
        if not (np.isfinite([*self.center, *self.width]).all() and min(self.width) > 0):
            raise UserError("center and width must be finite, width above 0")

    def __call__(self, covariates: ClipCovariates | None) -> Array:
        """Standardized covariates ``(C,)``, no further out than what was seen when fitting; zeros where unknown."""
        if covariates is None:
            return np.zeros(len(COVARIATES))
        return ((covariates.to_vector() - self.center) / self.width).clip(-2.5, 2.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class TailModel:
    """Of one measure: ``slopes`` by covariate, the ``location`` where the tail begins, its mean ``mean_excess``.

    ``rig_offsets`` are added to the location of some rigs. All are of transformed values, see ``to_model_scale``.
    ``num_fit_clips`` is the clips on which the measure could be taken.
    """

    measure: str
    slopes: tuple[float, ...]
    location: float
    mean_excess: float
    num_fit_clips: int
    rig_offsets: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.measure.rpartition("/")[2] not in DEFINITIONS:
            raise UserError(f"{shorten(self.measure)} is no measure")
        if len(self.slopes) != len(COVARIATES):
            raise UserError(f"slopes of {self.measure} need a number for each of {', '.join(COVARIATES)}")
        if not np.isfinite([*self.slopes, self.location, self.mean_excess, *self.rig_offsets.values()]).all():
            raise UserError(f"slopes, location, mean_excess and rig_offsets of {self.measure} must be finite")
        if self.mean_excess <= 0 or min(self.rig_offsets.values(), default=0.0) < 0:
            raise UserError(f"mean_excess of {self.measure} must be above 0, its rig_offsets not below")

    def score(self, value: float, covariates: Array, rig: str = "") -> float:
        return (to_model_scale(self.measure, value) - self._tail_start(covariates, rig)) / self.mean_excess

    def value_at(self, score: float, covariates: Array, rig: str = "") -> float:
        """The value that has this score: the inverse of ``score``."""
        return from_model_scale(self.measure, self._tail_start(covariates, rig) + score * self.mean_excess)

    def _tail_start(self, covariates: Array, rig: str) -> float:
        return self.location + float(covariates @ self.slopes) + self.rig_offsets.get(rig, 0.0)


def estimate_mean_excess(values: Array, location: float, minimum: float) -> float:
    """Mean excess of the ``values`` ``(N,)`` above ``location``, at least that of a normal tail around their bulk."""
    bulk_std = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return max(float((values[values >= location] - location).mean()), _NORMAL_EXCESS * bulk_std, minimum)


def fit_covariate_scale(clips: Sequence[ClipCovariates]) -> CovariateScale:
    if not clips:
        return CovariateScale(center=(0.0,) * len(COVARIATES), width=(1.0,) * len(COVARIATES))
    rows = np.stack([clip.to_vector() for clip in clips])
    center = np.median(rows, axis=0)
    width = np.maximum(1.4826 * np.median(np.abs(rows - center), axis=0), 0.1)
    return CovariateScale(center=tuple(map(float, center)), width=tuple(map(float, width)))


def fit_tail_model(measure: str, values: Sequence[float], covariates: Array, rigs: Sequence[str]) -> TailModel | None:
    """From ``values`` ``(N,)`` on good clips, their standardized covariates ``(N, C)`` and rigs; None from too few."""
    if len(values) < MIN_VALUES:
        return None
    transformed = np.array([to_model_scale(measure, value) for value in values])
    slopes = np.zeros(covariates.shape[1])
    if len(values) >= CLIPS_PER_COVARIATE * covariates.shape[1]:
        slopes = _robust_slopes(transformed, covariates)
    residuals = transformed - covariates @ slopes
    rig_offsets = _fit_rig_offsets(residuals, rigs)
    residuals = residuals - [rig_offsets.get(rig, 0.0) for rig in rigs]
    location = float(np.quantile(residuals, TAIL_QUANTILE))
    return TailModel(
        measure=measure,
        slopes=tuple(map(float, slopes)),
        location=location,
        mean_excess=estimate_mean_excess(residuals, location, MIN_MEAN_EXCESS),
        num_fit_clips=len(values),
        rig_offsets=rig_offsets,
    )


def _fit_rig_offsets(residuals: Array, rigs: Sequence[str]) -> dict[str, float]:
    """What lies above the median of all, by rig: never below it, since few clips of a rig must not tighten a limit."""
    by_rig = {rig: residuals[[other == rig for other in rigs]] for rig in sorted(set(rigs))}
    offsets = {
        rig: float(np.median(group) - np.median(residuals)) * len(group) / (len(group) + RIG_PRIOR_CLIPS)
        for rig, group in by_rig.items()
    }
    return {rig: offset for rig, offset in offsets.items() if offset > 0}


def _robust_slopes(transformed: Array, covariates: Array) -> Array:
    """Ridge regression under Huber's weights (Huber 1964), by iterated least squares; the intercept is left out."""
    design = np.concatenate([np.ones((len(transformed), 1)), covariates], 1)
    penalty = np.diag([0.0] + [_RIDGE] * covariates.shape[1])
    weights = np.ones(len(transformed))
    for _ in range(20):
        weighted = design * weights[:, None]
        solution = np.linalg.solve(design.T @ weighted + penalty, weighted.T @ transformed)
        residuals = transformed - design @ solution
        spread = max(1.4826 * float(np.median(np.abs(residuals - np.median(residuals)))), 1e-6)
        weights = np.minimum(1.0, _HUBER * spread / np.maximum(np.abs(residuals), 1e-12))
    return np.asarray(solution[1:], np.float64)


def to_model_scale(measure: str, value: float) -> float:
    """Shares on the logit scale, all else on the logarithmic: there spreads compare, and limits keep within bounds."""
    unit = get_definition(measure).unit
    floor = _FLOORS[unit]
    if unit in _SHARE_UNITS:
        # 1 minus a correlation may leave 0..1: opposed looks are as bad as it gets, and rounding can fall below 0.
        share = (min(max(value, 0.0), 1.0) + floor) / (1 + 2 * floor)
        return math.log(share / (1 - share))
    return math.log(value + floor)


def from_model_scale(measure: str, scaled: float) -> float:
    """The inverse of ``to_model_scale``."""
    unit = get_definition(measure).unit
    floor = _FLOORS[unit]
    if unit in _SHARE_UNITS:
        return (1 + 2 * floor) / (1 + math.exp(-scaled)) - floor
    return math.exp(scaled) - floor
