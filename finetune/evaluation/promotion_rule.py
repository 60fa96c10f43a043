"""The rule of promotion: driving must have improved, and no domain's dynamics may have fallen beyond a tolerance.

Both are to be shown. Improvement is a test of superiority, the others are tests of non-inferiority: a fall beyond the
tolerance must be excluded at the stated confidence (ICH E9, section 3.3.2), so that few clips refuse rather than pass.
Every check must pass, so no correction for their number is needed: a model that fell beyond the tolerance anywhere
passes with a chance of at most 1 - confidence (intersection-union test, Berger 1982, Technometrics 24).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from driveforge.datasets.domains import DRIVING
from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.paired_comparison import PairedComparison, compare
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.finetune.evaluation.results import Evaluation

# More clips than this that can no longer be measured, as a share of those that could be, are themselves a fall that the
# others do not show.
MAX_LOST_SHARE = 0.1

State = Literal["improved", "worse", "retained", "regressed", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionCheck:
    """One comparison with one earlier model, called ``baseline``; ``tolerance`` is None where it had to improve."""

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
    """``unmeasured`` are (domain, measure) that no earlier model could be measured in, so that nothing can be lost."""

    checks: tuple[PromotionCheck, ...]
    unmeasured: tuple[tuple[str, str], ...] = field(default=())

    @property
    def is_promoted(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[PromotionCheck]:
        """What stands against promotion, falls first and the largest of them first."""
        order = ("regressed", "worse", "inconclusive")
        failed = [check for check in self.checks if not check.passed]
        return sorted(failed, key=lambda check: (order.index(check.state), -_regression_size(check)))


def decide_promotion(
    candidate: Evaluation, earlier: Mapping[str, Evaluation], rule: PromotionRule
) -> PromotionDecision:
    """The candidate against every model of ``earlier``, by what it is called; the first is the one to improve upon.

    A UserError where models were probed in different ways, or where the probe has no such measure or domain.
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
            # A domain in which nothing at all is known cannot pass unseen.
            checks += _check_regressions(candidate, model, name, domain, known or rule.dynamics[:1], rule)
    return PromotionDecision(checks=tuple(checks), unmeasured=tuple(sorted(unmeasured)))


def _check_improvement(candidate: Evaluation, model: Evaluation, name: str, rule: PromotionRule) -> PromotionCheck:
    driving = {value.domain for value in candidate.values if rule.is_driving(value.domain)}
    comparison = _compare(model, candidate, rule.improve, driving, DRIVING, rule)
    state, reason = "inconclusive", _insufficient_data_reason(comparison, rule)
    if not reason and comparison.change:
        low, high = comparison.change.regression_bounds
        state, reason = (
            ("improved", "") if high < 0 else ("worse", "") if low > 0 else (state, "no improvement is shown")
        )
    return PromotionCheck(baseline=name, comparison=comparison, tolerance=None, state=state, reason=reason)  # type: ignore[arg-type]


def _check_regressions(
    candidate: Evaluation, model: Evaluation, name: str, domain: str, measures: Sequence[str], rule: PromotionRule
) -> Iterator[PromotionCheck]:
    for measure in measures:
        comparison = _compare(model, candidate, measure, {domain}, domain, rule)
        state, reason = "inconclusive", _insufficient_data_reason(comparison, rule)
        if not reason and comparison.change:
            low, high = comparison.change.regression_bounds
            inconclusive_reason = f"a fall of more than {100 * rule.tolerance:g} % is not excluded"
            state, reason = (
                ("retained", "")
                if high <= rule.tolerance
                else ("regressed", "")
                if low > rule.tolerance
                else (state, inconclusive_reason)
            )
        yield PromotionCheck(baseline=name, comparison=comparison, tolerance=rule.tolerance, state=state, reason=reason)  # type: ignore[arg-type]


def _compare(
    model: Evaluation, candidate: Evaluation, measure: str, domains: Collection[str], label: str, rule: PromotionRule
) -> PairedComparison:
    return compare(model, candidate, measure=measure, domains=domains, label=label, confidence=rule.confidence)


def _insufficient_data_reason(comparison: PairedComparison, rule: PromotionRule) -> str:
    """Why the pairs cannot tell anything, or nothing."""
    if comparison.num_pairs < rule.min_clips:
        clips = comparison.num_pairs + len(comparison.excluded)
        return f"measured under both models on {comparison.num_pairs} of {clips} clips, {rule.min_clips} are needed"
    if len(comparison.lost) > MAX_LOST_SHARE * (comparison.num_pairs + len(comparison.lost)):
        return f"{len(comparison.lost)} clips that could be measured before cannot be any more"
    return ""


def _is_known(model: Evaluation, domain: str, measure: str) -> bool:
    return any(v.value is not None for v in model.values if v.domain == domain and v.measure == measure)


def _check_names(candidate: Evaluation, rule: PromotionRule) -> None:
    measures = sorted({value.measure for value in candidate.values})
    for measure in (rule.improve, *rule.dynamics):
        if measure not in measures:
            raise UserError(f"the probe has no measure {measure}; there are {', '.join(measures)}")
    domains = sorted({value.domain for value in candidate.values})
    if not any(rule.is_driving(domain) for domain in domains):
        patterns, there = ", ".join(rule.driving_domains), ", ".join(domains)
        raise UserError(f"no domain of the probe is driving by {patterns}; there are {there}")


def _regression_size(check: PromotionCheck) -> float:
    return check.comparison.change.regression if check.comparison.change else 0.0
