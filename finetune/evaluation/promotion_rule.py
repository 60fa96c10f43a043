"""The promotion rule: driving must improve, and the dynamics of no domain may regress beyond a tolerance.

Improvement is a test of superiority, each of the others a test of non-inferiority: a regression beyond the tolerance
must be excluded at the given confidence (ICH E9, section 3.3.2), so too few clips mean no promotion. Every check must
pass, so no correction for their number is needed: a model that regressed beyond the tolerance anywhere is promoted with
a probability of at most 1 - confidence (intersection-union test, Berger 1982, Technometrics 24).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from driveforge.datasets.domains import DRIVING
from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.paired_comparison import PairedComparison, compare
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.finetune.evaluation.results import Evaluation

# If a larger share of the clips that could be measured before has no value, that is a regression which the remaining
# pairs do not show.
MAX_LOST_SHARE = 0.1

State = Literal["improved", "worse", "retained", "regressed", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionCheck:
    """A comparison with an earlier model, ``baseline``; ``tolerance`` is None if the measure must improve."""

    baseline: str
    comparison: PairedComparison
    tolerance: float | None
    state: State
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.state in ("improved", "retained")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionDecision:
    """``unmeasured`` are the (domain, measure) in which an earlier model has no value, so there is no check."""

    checks: tuple[PromotionCheck, ...]
    unmeasured: tuple[tuple[str, str], ...] = field(default=())

    @property
    def is_promoted(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[PromotionCheck]:
        """The checks that prevent promotion, regressions first, the largest ones first."""
        order = ("regressed", "worse", "inconclusive")
        failed = [check for check in self.checks if not check.passed]
        return sorted(failed, key=lambda check: (order.index(check.state), -_regression_size(check)))


def decide_promotion(
    candidate: Evaluation, earlier: Mapping[str, Evaluation], rule: PromotionRule
) -> PromotionDecision:
    """Compares the candidate with every model of ``earlier`` (by name); it must improve on the first.

    Raises UserError if evaluations have different protocols, or if they lack a measure or domain of the rule.
    """
    _check_names(candidate, rule)
    name, first = next(iter(earlier.items()))
    checks = [_check_improvement(candidate, first, name, rule)]
    unmeasured: set[tuple[str, str]] = set()
    for name, model in earlier.items():
        domains = sorted({value.domain for value in (*model.values, *candidate.values)})
        for domain in domains:
            known = [measure for measure in rule.dynamics if _is_known(model, domain, measure)]
            unmeasured |= {(domain, measure) for measure in rule.dynamics if measure not in known}
            # A domain without any earlier value gets one inconclusive check, so that it does not pass unnoticed.
            checks += _check_regressions(candidate, model, name, domain, known or rule.dynamics[:1], rule)
    return PromotionDecision(checks=tuple(checks), unmeasured=tuple(sorted(unmeasured)))


def _check_improvement(candidate: Evaluation, model: Evaluation, name: str, rule: PromotionRule) -> PromotionCheck:
    driving = {value.domain for value in candidate.values if rule.is_driving(value.domain)}
    comparison = _compare(model, candidate, rule.improve, driving, DRIVING, rule)
    state, reason = _judge_improvement(comparison, rule)
    return PromotionCheck(baseline=name, comparison=comparison, tolerance=None, state=state, reason=reason)


def _judge_improvement(comparison: PairedComparison, rule: PromotionRule) -> tuple[State, str]:
    """The state of a measure that must improve, and the reason if it is inconclusive."""
    reason = _insufficient_data_reason(comparison, rule)
    if reason or comparison.change is None:
        return "inconclusive", reason
    low, high = comparison.change.regression_bounds
    if high < 0:
        return "improved", ""
    if low > 0:
        return "worse", ""
    return "inconclusive", "the improvement is not significant"


def _check_regressions(
    candidate: Evaluation, model: Evaluation, name: str, domain: str, measures: Sequence[str], rule: PromotionRule
) -> Iterator[PromotionCheck]:
    for measure in measures:
        comparison = _compare(model, candidate, measure, {domain}, domain, rule)
        state, reason = _judge_regression(comparison, rule)
        yield PromotionCheck(baseline=name, comparison=comparison, tolerance=rule.tolerance, state=state, reason=reason)


def _judge_regression(comparison: PairedComparison, rule: PromotionRule) -> tuple[State, str]:
    """The state of a measure that must not regress, and the reason if it is inconclusive."""
    reason = _insufficient_data_reason(comparison, rule)
    if reason or comparison.change is None:
        return "inconclusive", reason
    low, high = comparison.change.regression_bounds
    if high <= rule.tolerance:
        return "retained", ""
    if low > rule.tolerance:
        return "regressed", ""
    return "inconclusive", f"a regression of more than {100 * rule.tolerance:g} % is not excluded"


def _compare(
    model: Evaluation, candidate: Evaluation, measure: str, domains: Collection[str], label: str, rule: PromotionRule
) -> PairedComparison:
    return compare(model, candidate, measure=measure, domains=domains, label=label, confidence=rule.confidence)


def _insufficient_data_reason(comparison: PairedComparison, rule: PromotionRule) -> str:
    """The reason why the pairs are not enough for a decision; empty if they are."""
    if comparison.num_pairs < rule.min_clips:
        clips = comparison.num_pairs + len(comparison.excluded)
        return f"both models have values on {comparison.num_pairs} of {clips} clips, {rule.min_clips} are needed"
    if len(comparison.lost) > MAX_LOST_SHARE * (comparison.num_pairs + len(comparison.lost)):
        return f"{len(comparison.lost)} clips that had a value have none now"
    return ""


def _is_known(model: Evaluation, domain: str, measure: str) -> bool:
    return any(v.value is not None for v in model.values if v.domain == domain and v.measure == measure)


def _check_names(candidate: Evaluation, rule: PromotionRule) -> None:
    measures = sorted({value.measure for value in candidate.values})
    for measure in (rule.improve, *rule.dynamics):
        if measure not in measures:
            raise UserError(f"the evaluation has no measure {measure}; there are {', '.join(measures)}")
    domains = sorted({value.domain for value in candidate.values})
    if not any(rule.is_driving(domain) for domain in domains):
        patterns, found = ", ".join(rule.driving_domains), ", ".join(domains)
        raise UserError(f"no domain of the evaluation matches driving_domains {patterns}; there are {found}")


def _regression_size(check: PromotionCheck) -> float:
    return check.comparison.change.regression if check.comparison.change else 0.0
