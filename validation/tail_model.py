"""The distribution of a measure over good clips, given their covariates, and the nonconformity score of a value.

A robust linear regression on the covariates predicts the usual value; above the 80 % quantile of the residuals, a
generalized Pareto tail (peaks over threshold, Pickands 1975) models how rare a value is. The score of a value is minus
the logarithm of the share of this tail above it, so that scores of measures with long and short tails are comparable.
The tail is heavier than exponential, since the largest of a hundred good values is often far from the others: an odd
value counts less than several high ones. A hundred clips do not determine the shape of each tail, so all share one. A
rig whose clips have larger residuals than all clips gets an offset, which approaches the full difference as the number
of its clips grows: a few clips of a new camera suffice to adapt its limits. A measure of an object also has a slope on
the object's visibility, so that an object cut by the edge of the picture is compared with similar ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.validation.catalog import get_definition
from driveforge.validation.covariates import COVARIATES, ClipCovariates

MIN_VALUES = 6
# Fewer values do not support a slope on each covariate.
COVARIATE_CLIPS = 10 * len(COVARIATES)
TAIL_QUANTILE = 0.8
# On the model scale: a few clips that happen to be similar must not make the limit too strict.
MIN_MEAN_EXCESS = 0.15
# Of the generalized Pareto tail: 0 is exponential. Chosen on simulated clips.
SHAPE = 0.1
# Mean excess of a normal distribution above its 80 % quantile, in standard deviations.
_NORMAL_EXCESS = 0.558
# Number of clips of a rig at which its offset is half of the difference: a shrunken random intercept (Robinson 1991).
RIG_PRIOR_CLIPS = 5.0
# The regression on visibility uses the hidden share in this unit, so that it has a spread like other covariates.
_HIDDEN_WIDTH = 0.25
_MIN_VISIBILITIES = 20
_LARGEST_LOG = 700.0  # of a float
_HUBER = 1.345  # 95 % efficiency under normal noise
_RIDGE = 5.0
_MAD_TO_STD = 1.4826  # of a normal distribution


@dataclass(frozen=True, kw_only=True, slots=True)
class CovariateScale:
    """Robust standardization of covariates: their ``center`` and ``width`` on the fitted clips."""

    center: tuple[float, ...]
    width: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.center) == len(self.width) == len(COVARIATES):
            raise UserError(f"center and width need a number for each of {', '.join(COVARIATES)}")
        if not (np.isfinite([*self.center, *self.width]).all() and min(self.width) > 0):
            raise UserError("center and width must be finite, width above 0")

    def __call__(self, covariates: ClipCovariates | None) -> Array:
        """Standardized covariates ``(C,)``, clipped so that the regression does not extrapolate; zeros if unknown."""
        if covariates is None:
            return np.zeros(len(COVARIATES))
        return ((covariates.to_vector() - self.center) / self.width).clip(-2.5, 2.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisibilitySlope:
    """How a measure of an object depends on its visibility: ``slope`` per hidden share, on the model scale.

    ``lowest`` is the smallest visibility of good clips but for 5 %: the regression does not extrapolate below it.
    """

    slope: float
    lowest: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and 0 <= self.lowest <= 1):
            raise UserError("a visibility slope must be finite, and its lowest visibility from 0 to 1")

    def __call__(self, visibility: float | None) -> float:
        """What ``visibility`` adds to the measure; an unknown one counts as 1."""
        return 0.0 if visibility is None else self.slope * (1 - max(visibility, self.lowest))


@dataclass(frozen=True, kw_only=True, slots=True)
class TailModel:
    """The tail of one measure: ``slopes`` by covariate, the ``location`` where it starts, its ``mean_excess``.

    ``mean_excess`` is the scale of the generalized Pareto tail: the mean excess of the exponential tail that decays
    alike at its start.

    ``rig_offsets`` are added to the location for some rigs. All are on the model scale, see ``to_model_scale``.
    ``num_fit_clips`` is the number of clips that have a value. ``visibility`` is None for measures without visibility.
    """

    measure: str
    slopes: tuple[float, ...]
    location: float
    mean_excess: float
    num_fit_clips: int
    rig_offsets: Mapping[str, float] = field(default_factory=dict)
    visibility: VisibilitySlope | None = None

    def __post_init__(self) -> None:
        get_definition(self.measure)  # raises UserError if there is no such measure
        if len(self.slopes) != len(COVARIATES):
            raise UserError(f"slopes of {self.measure} need a number for each of {', '.join(COVARIATES)}")
        if not np.isfinite([*self.slopes, self.location, self.mean_excess, *self.rig_offsets.values()]).all():
            raise UserError(f"slopes, location, mean_excess and rig_offsets of {self.measure} must be finite")
        if self.mean_excess <= 0 or min(self.rig_offsets.values(), default=0.0) < 0:
            raise UserError(f"mean_excess of {self.measure} must be above 0 and its rig_offsets at least 0")

    def score(self, value: float, covariates: Array, rig: str = "", visibility: float | None = None) -> float:
        tail_start = self._tail_start(covariates, rig, visibility)
        excess = (to_model_scale(self.measure, value) - tail_start) / self.mean_excess
        return math.log1p(SHAPE * excess) / SHAPE if excess > 0 else excess

    def value_at(self, score: float, covariates: Array, rig: str = "", visibility: float | None = None) -> float:
        """The value with this score: the inverse of ``score``."""
        tail_start = self._tail_start(covariates, rig, visibility)
        excess = math.expm1(SHAPE * score) / SHAPE if score > 0 else score
        return from_model_scale(self.measure, tail_start + excess * self.mean_excess)

    def _tail_start(self, covariates: Array, rig: str, visibility: float | None) -> float:
        hidden = self.visibility(visibility) if self.visibility else 0.0
        return self.location + float(covariates @ self.slopes) + self.rig_offsets.get(rig, 0.0) + hidden


def estimate_mean_excess(values: Array, location: float, minimum: float, shape: float = 0.0) -> float:
    """Scale of the generalized Pareto tail of ``values`` ``(N,)`` above ``location``; the mean excess for ``shape`` 0.

    It is estimated from the expected smaller one of two excesses, scale / (2 - shape) (Hosking and Wallis, "Parameter
    and quantile estimation for the generalized Pareto distribution", 1987), in which the largest value has no weight:
    one odd clip cannot lengthen the tail. The few values in the tail may be close together by chance, so a normal
    distribution with the MAD of all values is a lower bound.
    """
    excesses = np.sort(values[values >= location] - location)
    # The k-th smallest of n is the smaller one in n - k of the n (n - 1) / 2 pairs.
    weights = np.arange(len(excesses))[::-1]
    smaller_of_two = float(weights @ excesses) / max(float(weights.sum()), 1.0)
    bulk_std = _MAD_TO_STD * float(np.median(np.abs(values - np.median(values))))
    return max((2 - shape) * smaller_of_two, _NORMAL_EXCESS * bulk_std, minimum)


def fit_covariate_scale(clips: Sequence[ClipCovariates]) -> CovariateScale:
    if not clips:
        return CovariateScale(center=(0.0,) * len(COVARIATES), width=(1.0,) * len(COVARIATES))
    rows = np.stack([clip.to_vector() for clip in clips])
    center = np.median(rows, axis=0)
    width = np.maximum(_MAD_TO_STD * np.median(np.abs(rows - center), axis=0), 0.1)
    return CovariateScale(center=tuple(map(float, center)), width=tuple(map(float, width)))


def fit_tail_model(
    measure: str,
    values: Sequence[float],
    covariates: Array,
    rigs: Sequence[str],
    visibilities: Sequence[float | None] = (),
    min_covariate_clips: int = COVARIATE_CLIPS,
) -> TailModel | None:
    """Fit ``values`` ``(N,)`` of good clips on their standardized covariates ``(N, C)``, rigs and visibilities.

    None if there are too few. ``visibilities`` are None where unknown, and empty for a measure without them. With fewer
    than ``min_covariate_clips`` values, all slopes on covariates are 0.
    """
    if len(values) < MIN_VALUES:
        return None
    transformed = np.array([to_model_scale(measure, value) for value in values])
    slopes, visibility = _fit_slopes(transformed, covariates, visibilities, min_covariate_clips)
    hidden = [visibility(one) for one in visibilities] if visibility else 0.0
    residuals = transformed - covariates @ slopes - hidden
    rig_offsets = _fit_rig_offsets(residuals, rigs)
    residuals = residuals - [rig_offsets.get(rig, 0.0) for rig in rigs]
    location = float(np.quantile(residuals, TAIL_QUANTILE))
    return TailModel(
        measure=measure,
        slopes=tuple(map(float, slopes)),
        location=location,
        mean_excess=estimate_mean_excess(residuals, location, MIN_MEAN_EXCESS, SHAPE),
        num_fit_clips=len(values),
        rig_offsets=rig_offsets,
        visibility=visibility,
    )


def _fit_slopes(
    transformed: Array, covariates: Array, visibilities: Sequence[float | None], min_covariate_clips: int
) -> tuple[Array, VisibilitySlope | None]:
    """Slopes by covariate ``(C,)``, zeros for few clips, and that on visibility, None if it is known for few clips."""
    has_enough = len(transformed) >= min_covariate_clips
    columns = list(covariates.T) if has_enough else []
    known = [visibility for visibility in visibilities if visibility is not None]
    lowest = float(np.quantile(known, 0.05)) if len(known) >= _MIN_VISIBILITIES else None
    if lowest is not None:
        per_width = VisibilitySlope(slope=1 / _HIDDEN_WIDTH, lowest=lowest)
        columns.append(np.array([per_width(visibility) for visibility in visibilities]))
    solution = _robust_slopes(transformed, np.column_stack(columns)) if columns else np.zeros(0)
    slopes = solution[: covariates.shape[1]] if has_enough else np.zeros(covariates.shape[1])
    if lowest is None:
        return slopes, None
    return slopes, VisibilitySlope(slope=float(solution[-1]) / _HIDDEN_WIDTH, lowest=lowest)


def _fit_rig_offsets(residuals: Array, rigs: Sequence[str]) -> dict[str, float]:
    """Shrunken offset of each rig above the median of all clips.

    An offset d estimated from n clips becomes d n / (n + RIG_PRIOR_CLIPS). Negative offsets are dropped: a few clips of
    a rig must not tighten its limits.
    """
    by_rig = {rig: residuals[[other == rig for other in rigs]] for rig in sorted(set(rigs))}
    offsets = {
        rig: float(np.median(group) - np.median(residuals)) * len(group) / (len(group) + RIG_PRIOR_CLIPS)
        for rig, group in by_rig.items()
    }
    return {rig: offset for rig, offset in offsets.items() if offset > 0}


def _robust_slopes(transformed: Array, covariates: Array) -> Array:
    """Ridge regression with Huber weights (Huber 1964) by iteratively reweighted least squares; without intercept."""
    design = np.concatenate([np.ones((len(transformed), 1)), covariates], 1)
    penalty = np.diag([0.0] + [_RIDGE] * covariates.shape[1])  # the intercept is not penalized
    weights = np.ones(len(transformed))
    for _ in range(20):
        weighted = design * weights[:, None]
        solution = np.linalg.solve(design.T @ weighted + penalty, weighted.T @ transformed)
        residuals = transformed - design @ solution
        spread = max(_MAD_TO_STD * float(np.median(np.abs(residuals - np.median(residuals)))), 1e-6)
        # Residuals beyond _HUBER standard deviations count linearly instead of quadratically.
        weights = np.minimum(1.0, _HUBER * spread / np.maximum(np.abs(residuals), 1e-12))
    return np.asarray(solution[1:], np.float64)


def to_model_scale(measure: str, value: float) -> float:
    """A value on the scale of the tail model: shares on the logit scale, all others on the logarithmic scale.

    On these scales the spread depends little on the level, and limits stay within the range of the unit.
    """
    unit = get_definition(measure).unit
    if unit.is_share:
        # 1 minus a correlation may leave 0..1: it exceeds 1 for opposed patches, and rounding can push it below 0.
        share = (min(max(value, 0.0), 1.0) + unit.floor) / (1 + 2 * unit.floor)
        return math.log(share / (1 - share))
    return math.log(value + unit.floor)


def from_model_scale(measure: str, scaled: float) -> float:
    """The inverse of ``to_model_scale``."""
    unit = get_definition(measure).unit
    if unit.is_share:
        return (1 + 2 * unit.floor) / (1 + math.exp(-scaled)) - unit.floor
    return math.exp(min(scaled, _LARGEST_LOG)) - unit.floor
