"""The choice among tried settings: the Pareto front of accepted share and time, and what few clips can tell."""

from collections.abc import Sequence

from driveforge.pipelines.generate.tune.search import TrialResult
from driveforge.validation.proportion import wilson_interval

CONFIDENCE = 0.95


def share_interval(result: TrialResult) -> tuple[float, float]:
    """The 95 % interval of the accepted share."""
    return wilson_interval(sum(result.accepted), len(result.accepted))


def difference_p_value(one: TrialResult, other: TrialResult) -> float:
    """The p-value of equal accepted shares, from the clips that only one of both accepts: McNemar's exact test."""
    from scipy.stats import binomtest

    only_one = sum(a and not b for a, b in zip(one.accepted, other.accepted, strict=True))
    only_other = sum(b and not a for a, b in zip(one.accepted, other.accepted, strict=True))
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def is_within_chance(one: TrialResult, other: TrialResult) -> bool:
    """Whether the clips are too few to tell the accepted shares of both apart."""
    return difference_p_value(one, other) > 1 - CONFIDENCE


def pareto_front(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The results that no faster one reaches in accepted share, from the fastest to the one of the highest share."""
    front: list[TrialResult] = []
    for result in sorted(results, key=lambda result: (result.seconds, -result.share)):
        if not front or result.share > front[-1].share:
            front.append(result)
    return front


def recommend(results: Sequence[TrialResult]) -> TrialResult | None:
    """The highest accepted share, the fastest of equal ones; None if no clip was accepted.

    A faster setting within chance of it is not preferred: with few clips nearly every setting is.
    """
    best = pareto_front(results)[-1]
    return best if best.share > 0 else None
