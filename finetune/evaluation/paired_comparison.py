"""Paired comparison of two models in one measure, clip by clip, under one evaluation protocol."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.intervals import ratio_interval
from driveforge.finetune.evaluation.metrics import HIGHER_IS_BETTER
from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The change from one model to another over pairs of clips, with the bounds of ``ratio_interval``.

    ``before`` and ``after`` are means in the unit of the measure, ``difference`` is after minus before. ``regression``
    is the deterioration as a share of the mean before; below 0 it is an improvement.
    """

    before: float
    after: float
    difference: float
    difference_bounds: tuple[float, float]
    regression: float
    regression_bounds: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """The comparison of two models in one measure; ``change`` is None if there are no pairs.

    ``excluded`` has (clip id, reason) of every clip without a pair; ``lost`` are those of them with a value before and
    none after.
    """

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
    """Compares two models on the clips of ``domains``, paired by clip id; ``label`` names these domains.

    Raises UserError if the evaluations have different protocols.
    """
    if before.protocol != after.protocol:
        raise UserError(
            f"evaluations with different protocols cannot be compared: {before.protocol} and {after.protocol}; "
            "evaluate one of the models again"
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
    """1 if higher is better, -1 if lower is."""
    return 1 if measure in HIGHER_IS_BETTER else -1


def _by_clip(
    evaluation: Evaluation, measure: str, domains: Collection[str]
) -> Mapping[tuple[str, str], EvaluationValue]:
    return {(v.domain, v.clip_id): v for v in evaluation.values if v.measure == measure and v.domain in domains}


def _value_or_reason(values: Mapping[tuple[str, str], EvaluationValue], key: tuple[str, str]) -> float | str:
    """The value of a clip, or the reason why there is none."""
    if key not in values:
        return "not evaluated"
    found = values[key]
    return found.reason if found.value is None else found.value


def _compute_change(pairs: Sequence[tuple[float, float]], sign: int, confidence: float, seed: int) -> Change:
    old, new = np.array(pairs, float).T
    ones, worse = np.ones(len(pairs)), sign * (old - new)
    before = float(old.mean())
    if before > 0:
        regression, bounds = float(worse.mean()) / before, ratio_interval(worse, old, confidence, seed)
    elif worse.any():
        # Relative to a mean of zero any change is infinite, and has no bounds.
        regression, bounds = float(np.copysign(np.inf, worse.mean())), (-np.inf, np.inf)
    else:
        regression, bounds = 0.0, (0.0, 0.0)
    return Change(
        before=before,
        after=float(new.mean()),
        difference=float((new - old).mean()),
        difference_bounds=ratio_interval(new - old, ones, confidence, seed),
        regression=regression,
        regression_bounds=bounds,
    )
