"""Yield: the share of generated clips that is accepted, by condition, as a Beta-Bernoulli posterior.

For a condition with k accepted of n clips, the posterior of its yield p is Beta(a + k, b + n - k). The prior Beta(a, b)
has the mean of all clips and the weight of ``PRIOR_CLIPS`` clips, so that a condition with few clips is drawn towards
the mean of all instead of to 0 or 1.

    10 of 24 accepted, of them 0 of 2 at dusk: the prior has the mean (10 + 0.5) / (24 + 1) = 0.42 (Jeffreys) and is
    Beta(1.68, 2.32); the posterior of dusk is Beta(1.68, 4.32), whose mean is 0.28, not 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from driveforge.pipelines.report.outcomes import CONDITIONS, Outcome

PRIOR_CLIPS = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Yield:
    """The yield of the clips with ``value`` of ``condition``; "all" for all clips.

    ``mean`` is the posterior mean of the share that is accepted, ``low`` and ``high`` its central 90 % interval.
    Seconds are of workers and of GPUs, per accepted clip, rejected clips included; infinite if none was accepted, NaN
    if costs were not recorded.
    """

    condition: str
    value: str
    num_clips: int
    num_accepted: int
    mean: float
    low: float
    high: float
    seconds_per_accepted: float
    gpu_seconds_per_accepted: float


def compute_yields(outcomes: Sequence[Outcome]) -> list[Yield]:
    """The yield of all clips, then that of every value of every condition that has more than one."""
    share = (_count_accepted(outcomes) + 0.5) / (len(outcomes) + 1)
    yields = [_yield("all", "", outcomes, share)]
    for condition in CONDITIONS:
        values = sorted({getattr(outcome, condition) for outcome in outcomes}, key=_number_first)
        if len(values) > 1:
            for value in values:
                chosen = [outcome for outcome in outcomes if getattr(outcome, condition) == value]
                yields.append(_yield(condition, value or "unknown", chosen, share))
    return yields


def yield_table(yields: Sequence[Yield]) -> pa.Table:
    """One row for each yield, with the fields of ``Yield``."""
    return pa.table({field.name: [getattr(row, field.name) for row in yields] for field in fields(Yield)})


def _yield(condition: str, value: str, outcomes: Sequence[Outcome], share: float) -> Yield:
    from scipy.stats import beta

    total, accepted = len(outcomes), _count_accepted(outcomes)
    prior = share * PRIOR_CLIPS
    posterior = beta(prior + accepted, PRIOR_CLIPS - prior + total - accepted)
    low, high = posterior.interval(0.9)
    return Yield(
        condition=condition,
        value=value,
        num_clips=total,
        num_accepted=accepted,
        mean=float(posterior.mean()),
        low=float(low),
        high=float(high),
        seconds_per_accepted=_per_accepted(sum(outcome.seconds for outcome in outcomes), accepted),
        gpu_seconds_per_accepted=_per_accepted(sum(outcome.gpu_seconds for outcome in outcomes), accepted),
    )


def _per_accepted(seconds: float, accepted: int) -> float:
    if np.isnan(seconds):
        return np.nan
    return seconds / accepted if accepted else np.inf


def _count_accepted(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.state == "accepted" for outcome in outcomes)


def _number_first(value: str) -> tuple[int, float, str]:
    """Bins in the order of their numbers: "under 5 m/s", "5 to 10 m/s", "10 m/s and more"."""
    words = value.split()
    if words[:1] == ["under"]:
        return 0, -1.0, value
    try:
        return 0, float(words[0]), value
    except (ValueError, IndexError):
        return 1, 0.0, value
