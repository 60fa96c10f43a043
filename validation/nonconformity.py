"""The score of a clip: how surprising its measures are together, by one criterion and by all.

By a criterion (whether the clip follows its command, whether it looks right) the surprises of the measures add up to a
total. How such totals spread over good clips is learned like the spread of a measure: above their 80 % point an
exponential tail, in whose mean excesses a total is told. So each criterion has the same share of the false rejects,
however many measures speak for it: what three dozen measures of motion find a little odd in good clips does not raise
the limit of the one measure that sees a vehicle fall into blocks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.validation.catalog import CRITERIA, criterion_of
from driveforge.validation.covariates import ClipCovariates
from driveforge.validation.records import Measures
from driveforge.validation.tail_model import (
    MIN_VALUES,
    TAIL_QUANTILE,
    CovariateScale,
    TailModel,
    estimate_mean_excess,
    fit_covariate_scale,
    fit_tail_model,
)

# In mean excesses of measures: totals that agree by chance must not make a limit of iron.
_MIN_MEAN_EXCESS = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class CriterionTail:
    """How totals of good clips by one criterion spread: where their tail begins and its mean excess."""

    criterion: str
    location: float
    mean_excess: float

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise UserError(f"{self.criterion!r:.40} is no criterion; there are {', '.join(CRITERIA)}")
        if not (math.isfinite(self.location) and math.isfinite(self.mean_excess) and self.mean_excess > 0):
            raise UserError(f"location and mean_excess of {self.criterion} must be finite, mean_excess above 0")

    def score(self, total: float) -> float:
        return (total - self.location) / self.mean_excess

    def total_at(self, score: float) -> float:
        """The total that has this score: the inverse of ``score``."""
        return self.location + score * self.mean_excess


def rig_name(measures: Measures) -> str:
    return measures.covariates.rig if measures.covariates else ""


def fit_tail_models(clip_measures: Sequence[Measures]) -> tuple[CovariateScale, tuple[TailModel, ...]]:
    """What good clips show: the scale of their covariates, and of every measure that was taken often enough."""
    scale = fit_covariate_scale([measures.covariates for measures in clip_measures if measures.covariates])
    taken: dict[str, list[tuple[float, ClipCovariates | None, str]]] = {}
    for measures in clip_measures:
        for measure in measures.values:
            if measure.value is not None:
                taken.setdefault(measure.name, []).append((measure.value, measures.covariates, rig_name(measures)))
    fitted = (
        fit_tail_model(name, values, np.stack([scale(covariates) for covariates in covariates]), rigs)
        for name, (values, covariates, rigs) in (
            (name, zip(*values_by_clip, strict=True)) for name, values_by_clip in taken.items()
        )
    )
    return scale, tuple(tail_model for tail_model in fitted if tail_model)


def compute_nonconformity_scores(
    measures: Measures, scale: CovariateScale, tail_models: Mapping[str, TailModel]
) -> dict[str, float]:
    """How surprising every measure of a clip is for which there is an expectation."""
    covariates, rig = scale(measures.covariates), rig_name(measures)
    values = {m.name: m.value for m in measures.values if m.value is not None and m.name in tail_models}
    return {name: tail_models[name].score(value, covariates, rig) for name, value in values.items()}


def combine_by_criterion(nonconformity_scores: Mapping[str, float]) -> dict[str, float]:
    """By criterion, what the surprises come to together; minus infinity where no measure speaks for it."""
    return {
        criterion: _log_sum_exp(
            value for name, value in nonconformity_scores.items() if criterion_of(name) == criterion
        )
        for criterion in CRITERIA
    }


def fit_criterion_tails(totals: Sequence[Mapping[str, float]]) -> tuple[CriterionTail, ...]:
    """From the ``totals`` of good clips; none for a criterion that too few of them could be held against."""
    tails = []
    for criterion in CRITERIA:
        column = np.array([total[criterion] for total in totals if math.isfinite(total[criterion])])
        if len(column) >= MIN_VALUES:
            location = float(np.quantile(column, TAIL_QUANTILE))
            tails.append(
                CriterionTail(
                    criterion=criterion,
                    location=location,
                    mean_excess=estimate_mean_excess(column, location, _MIN_MEAN_EXCESS),
                )
            )
    return tuple(tails)


def compute_clip_score(totals: Mapping[str, float], tails: Sequence[CriterionTail]) -> float:
    """The totals of all criteria together, each in mean excesses of its tail."""
    return _log_sum_exp(tail.score(totals[tail.criterion]) for tail in tails)


def _log_sum_exp(scores: Iterable[float]) -> float:
    """The logarithm of the sum of their exponentials: just above the largest, and more where several come together.

    Minus infinity where there are none.
    """
    return float(np.logaddexp.reduce(list(scores), initial=-math.inf))
