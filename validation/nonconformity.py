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
from driveforge.validation.catalogue import CRITERIA, criterion_of
from driveforge.validation.covariates import Circumstances
from driveforge.validation.records import Measures
from driveforge.validation.tail_model import (
    MIN_VALUES,
    TAIL_FROM,
    CovariateScale,
    Expectation,
    fit_covariate_scale,
    fit_expectation,
    mean_excess,
)

# In mean excesses of measures: totals that agree by chance must not make a limit of iron.
_MIN_EXCESS = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    """How totals of good clips by one criterion spread: where their tail begins and its mean excess."""

    criterion: str
    location: float
    excess: float

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise UserError(f"{self.criterion!r:.40} is no criterion; there are {', '.join(CRITERIA)}")
        if not (math.isfinite(self.location) and math.isfinite(self.excess) and self.excess > 0):
            raise UserError(f"location and excess of {self.criterion} must be finite, excess above 0")

    def score(self, total: float) -> float:
        return (total - self.location) / self.excess

    def total_at(self, score: float) -> float:
        """The total that has this score: the inverse of ``score``."""
        return self.location + score * self.excess


def rig_of(measures: Measures) -> str:
    return measures.circumstances.rig if measures.circumstances else ""


def fit_expectations(sets: Sequence[Measures]) -> tuple[CovariateScale, tuple[Expectation, ...]]:
    """What good clips show: the scale of their covariates, and of every measure that was taken often enough."""
    scale = fit_covariate_scale([measures.circumstances for measures in sets if measures.circumstances])
    taken: dict[str, list[tuple[float, Circumstances | None, str]]] = {}
    for measures in sets:
        for measure in measures.values:
            if measure.value is not None:
                taken.setdefault(measure.name, []).append((measure.value, measures.circumstances, rig_of(measures)))
    fitted = (
        fit_expectation(name, values, np.stack([scale(around) for around in circumstances]), rigs)
        for name, (values, circumstances, rigs) in ((name, zip(*rows, strict=True)) for name, rows in taken.items())
    )
    return scale, tuple(expectation for expectation in fitted if expectation)


def surprises_of(
    measures: Measures, scale: CovariateScale, expectations: Mapping[str, Expectation]
) -> dict[str, float]:
    """How surprising every measure of a clip is for which there is an expectation."""
    covariates, rig = scale(measures.circumstances), rig_of(measures)
    values = {m.name: m.value for m in measures.values if m.value is not None and m.name in expectations}
    return {name: expectations[name].score(value, covariates, rig) for name, value in values.items()}


def totals_of(surprises: Mapping[str, float]) -> dict[str, float]:
    """By criterion, what the surprises come to together; minus infinity where no measure speaks for it."""
    return {
        criterion: _together(value for name, value in surprises.items() if criterion_of(name) == criterion)
        for criterion in CRITERIA
    }


def fit_tails(totals: Sequence[Mapping[str, float]]) -> tuple[Tail, ...]:
    """From the ``totals`` of good clips; none for a criterion that too few of them could be held against."""
    tails = []
    for criterion in CRITERIA:
        column = np.array([total[criterion] for total in totals if math.isfinite(total[criterion])])
        if len(column) >= MIN_VALUES:
            location = float(np.quantile(column, TAIL_FROM))
            tails.append(
                Tail(criterion=criterion, location=location, excess=mean_excess(column, location, _MIN_EXCESS))
            )
    return tuple(tails)


def clip_score(totals: Mapping[str, float], tails: Sequence[Tail]) -> float:
    """The totals of all criteria together, each in mean excesses of its tail."""
    return _together(tail.score(totals[tail.criterion]) for tail in tails)


def _together(scores: Iterable[float]) -> float:
    """The logarithm of the sum of their exponentials: just above the largest, and more where several come together.

    Minus infinity where there are none.
    """
    return float(np.logaddexp.reduce(list(scores), initial=-math.inf))
