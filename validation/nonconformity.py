"""The nonconformity score of a clip, from the scores of its measures.

For each criterion (the clip follows its command, the clip looks right, the network finds it right) the scores of its
measures are combined to a total; the highest ones count most, and several high ones more than a single one. The tail of
the totals of good clips is modeled as exponential above the 80 % quantile, and a total is scored in mean excesses of
that tail. The scores of the criteria are combined in the same way. So every criterion has the same share of the false
rejects, regardless of its number of measures: the normal variation of thirty measures of motion does not raise the
limit of the single measure that detects a blocky vehicle.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.validation.catalog import criterion_of
from driveforge.validation.covariates import ClipCovariates
from driveforge.validation.measure_definition import CRITERIA
from driveforge.validation.records import Measures
from driveforge.validation.tail_model import (
    COVARIATE_CLIPS,
    MIN_VALUES,
    TAIL_QUANTILE,
    CovariateScale,
    TailModel,
    estimate_mean_excess,
    fit_covariate_scale,
    fit_tail_model,
)

# Of measures and of criteria: from 1, where the highest score counts almost alone, to infinity, where all count alike.
# Chosen on simulated clips, and for criteria on the design half of the labeled ones: an error usually raises several
# measures, and failures of a generator several criteria, while in good clips one alone is sometimes high.
TEMPERATURE = 2.0
# In mean excesses of measures: totals that happen to be close together must not make the limit too strict.
_MIN_MEAN_EXCESS = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class CriterionTail:
    """The tail of the totals of good clips for one criterion: where it starts and its mean excess.

    ``usual`` is the median of the totals.
    """

    criterion: str
    location: float
    mean_excess: float
    usual: float

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise UserError(f"{self.criterion!r:.40} is not a criterion; there are {', '.join(CRITERIA)}")
        if not (np.isfinite([self.location, self.mean_excess, self.usual]).all() and self.mean_excess > 0):
            raise UserError(f"location, mean_excess and usual of {self.criterion} must be finite, mean_excess above 0")

    def score(self, total: float) -> float:
        return (total - self.location) / self.mean_excess

    def score_of_one(self, nonconformity: float) -> float:
        """The score of this criterion with one measure's nonconformity score, while all others are usual."""
        return self.score(_combine([nonconformity, self.usual]))

    def nonconformity_at(self, score: float) -> float:
        """The nonconformity score of one measure that leads to ``score``: the inverse of ``score_of_one``."""
        return _remainder(self.location + score * self.mean_excess, [self.usual])


def rig_name(measures: Measures) -> str:
    return measures.covariates.rig if measures.covariates else ""


def fit_tail_models(
    clip_measures: Sequence[Measures], min_covariate_clips: int = COVARIATE_CLIPS
) -> tuple[CovariateScale, tuple[TailModel, ...]]:
    """The covariate scale of good clips, and a tail model of every measure with enough values.

    Tail models from fewer than ``min_covariate_clips`` values do not depend on covariates.
    """
    scale = fit_covariate_scale([measures.covariates for measures in clip_measures if measures.covariates])
    taken: dict[str, list[tuple[float, ClipCovariates | None, str, float | None]]] = {}
    for measures in clip_measures:
        for m in measures.values:
            if m.value is not None:
                row = (m.value, measures.covariates, rig_name(measures), m.visibility)
                taken.setdefault(m.name, []).append(row)
    tail_models = []
    for name, values_by_clip in taken.items():
        values, covariates, rigs, visibilities = zip(*values_by_clip, strict=True)
        standardized = np.stack([scale(one) for one in covariates])
        tail_models.append(fit_tail_model(name, values, standardized, rigs, visibilities, min_covariate_clips))
    return scale, tuple(tail_model for tail_model in tail_models if tail_model)


def compute_nonconformity_scores(
    measures: Measures, scale: CovariateScale, tail_models: Mapping[str, TailModel]
) -> dict[str, float]:
    """The nonconformity score of every measure of a clip that has a value and a tail model."""
    covariates, rig = scale(measures.covariates), rig_name(measures)
    return {
        m.name: tail_models[m.name].score(m.value, covariates, rig, m.visibility)
        for m in measures.values
        if m.value is not None and m.name in tail_models
    }


def combine_by_criterion(nonconformity_scores: Mapping[str, float]) -> dict[str, float]:
    """The total score by criterion; minus infinity for a criterion without measures."""
    return {
        criterion: _combine(value for name, value in nonconformity_scores.items() if criterion_of(name) == criterion)
        for criterion in CRITERIA
    }


def fit_criterion_tails(totals: Sequence[Mapping[str, float]]) -> tuple[CriterionTail, ...]:
    """Fit the ``totals`` of good clips; a criterion with too few totals gets no tail."""
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
                    usual=float(np.median(column)),
                )
            )
    return tuple(tails)


def compute_clip_score(totals: Mapping[str, float], tails: Sequence[CriterionTail]) -> float:
    """Combine the totals of all criteria, each in mean excesses of its tail; minus infinity without any total.

    A criterion without a total counts as usual, so that a street without vehicles has the same limits for the others.
    """
    found = {tail.criterion for tail in tails if math.isfinite(totals[tail.criterion])}
    if not found:
        return -math.inf
    return _combine(tail.score(totals[tail.criterion] if tail.criterion in found else tail.usual) for tail in tails)


def clip_score_of_one(score: float, criterion: str, tails: Sequence[CriterionTail]) -> float:
    """The score of a clip with this score of one criterion, while the others are usual."""
    return _combine([score, *_usual_scores(criterion, tails)])


def criterion_score_at(clip_score: float, criterion: str, tails: Sequence[CriterionTail]) -> float:
    """The score of one criterion that leads to ``clip_score``: the inverse of ``clip_score_of_one``."""
    return _remainder(clip_score, _usual_scores(criterion, tails))


def _usual_scores(criterion: str, tails: Sequence[CriterionTail]) -> list[float]:
    """The median scores of the criteria but one."""
    return [tail.score(tail.usual) for tail in tails if tail.criterion != criterion]


def _combine(scores: Iterable[float]) -> float:
    """t log(sum(exp(score / t))) with ``TEMPERATURE`` t: near the largest score; minus infinity if there is none.

    A score is minus the logarithm of a p-value p up to a constant, so this is a generalized mean of p-values with the
    exponent -1 / t (Vovk and Wang, "Combining p-values via averaging", 2020).
    """
    return TEMPERATURE * float(np.logaddexp.reduce([score / TEMPERATURE for score in scores], initial=-math.inf))


def _remainder(total: float, others: Sequence[float]) -> float:
    """The score that together with ``others`` combines to ``total``; ``total`` itself if the others exceed it."""
    combined = _combine(others)
    share = min(math.exp((combined - total) / TEMPERATURE), 1 - 1e-9) if combined < total else 0.0
    return total + TEMPERATURE * math.log1p(-share)
