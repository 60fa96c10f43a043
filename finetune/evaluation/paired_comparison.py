"""Two models under the same probe, compared clip by clip in one measure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.intervals import ratio_interval
from driveforge.finetune.evaluation.metrics import HIGHER_IS_BETTER
from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """From one model to another over pairs of clips; bounds as of ``ratio_interval``, infinite where there is none.

    ``before`` and ``after`` are means in the measure's unit, ``difference`` is after minus before. ``regression`` is how much
    worse it became, as a share of the mean before: below 0 it became better.
    """

    before: float
    after: float
    difference: float
    difference_bounds: tuple[float, float]
    regression: float
    regression_bounds: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """``excluded`` has (clip id, why) of every clip that is in no pair; ``lost`` are those of them that could be
    measured before and cannot any more. ``change`` is None where there are no pairs."""

    measure: str
    domain: str
    num_pairs: int
    change: Change | None
    excluded: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]


def compare(
    before: Evaluation,
    after: Evaluation,
    *,
    measure: str,
    domains: Collection[str],
    label: str,
    confidence: float,
    seed: int = 0,
) -> PairedComparison:
    """The clips of ``domains``, together called ``label``, under one model and under another, paired by clip id.

    A UserError where the two were not probed in the same way.
    """
    if before.protocol != after.protocol:
        raise UserError(
            f"the models were probed in different ways and cannot be compared: {before.protocol} and {after.protocol}; "
            "probe one of them anew"
        )
    old, new = _by_clip(before, measure, domains), _by_clip(after, measure, domains)
    pairs, excluded, lost = [], [], []
    for key in sorted(old.keys() | new.keys()):
        clip, a, b = key[1], _value_or_reason(old, key), _value_or_reason(new, key)
        if not isinstance(a, str) and not isinstance(b, str):
            pairs.append((a, b))
            continue
        reasons = [f"{when}: {what}" for when, what in (("before", a), ("after", b)) if isinstance(what, str)]
        excluded.append((clip, "; ".join(reasons)))
        if isinstance(b, str) and not isinstance(a, str):
            lost.append(clip)
    return PairedComparison(
        measure=measure,
        domain=label,
        num_pairs=len(pairs),
        change=_compute_change(pairs, metric_sign(measure), confidence, seed) if pairs else None,
        excluded=tuple(excluded),
        lost=tuple(lost),
    )


def metric_sign(measure: str) -> int:
    """1 where more is better, -1 where less is."""
    return 1 if measure in HIGHER_IS_BETTER else -1


def _by_clip(
    evaluation: Evaluation, measure: str, domains: Collection[str]
) -> Mapping[tuple[str, str], EvaluationValue]:
    return {(v.domain, v.clip_id): v for v in evaluation.values if v.measure == measure and v.domain in domains}


def _value_or_reason(values: Mapping[tuple[str, str], EvaluationValue], key: tuple[str, str]) -> float | str:
    """The clip's value, or why there is none."""
    if key not in values:
        return "not probed"
    found = values[key]
    return found.reason if found.value is None else found.value


def _compute_change(pairs: Sequence[tuple[float, float]], sign: int, confidence: float, seed: int) -> Change:
    old, new = np.array(pairs, float).T
    ones, worse = np.ones(len(pairs)), sign * (old - new)
    before = float(old.mean())
    # A share of nothing: any fall from zero is without bounds, and no fall is none.
    regression, bounds = (
        (0.0, (0.0, 0.0)) if not worse.any() else (np.copysign(np.inf, worse.mean()), (-np.inf, np.inf))
    )
    if before > 0:
        regression, bounds = float(worse.mean()) / before, ratio_interval(worse, old, confidence, seed)
    return Change(
        before=before,
        after=float(new.mean()),
        difference=float((new - old).mean()),
        difference_bounds=ratio_interval(new - old, ones, confidence, seed),
        regression=float(regression),
        regression_bounds=bounds,
    )
