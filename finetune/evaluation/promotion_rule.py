"""The rule of promotion: driving must have improved, and no domain's dynamics may have fallen beyond a tolerance.

Both are to be shown. Improvement is a test of superiority, the others are tests of non-inferiority: a fall beyond the
tolerance must be excluded at the stated confidence (ICH E9, section 3.3.2), so that few clips refuse rather than pass.
Every check must pass, so no correction for their number is needed: a model that fell beyond the tolerance anywhere
passes with a chance of at most 1 - confidence (intersection-union test, Berger 1982, Technometrics 24).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.paired import Paired, compare
from driveforge.finetune.evaluation.promotion_settings import Rule
from driveforge.finetune.evaluation.results import Probed

# More clips than this that can no longer be measured, as a share of those that could be, are themselves a fall that the
# others do not show.
MOST_LOST = 0.1

State = Literal["improved", "worse", "held", "fell", "cannot tell"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One comparison with one earlier model, called ``against``; ``tolerance`` is None where it had to improve."""

    against: str
    paired: Paired
    tolerance: float | None
    state: State
    why: str = ""

    @property
    def passed(self) -> bool:
        return self.state in ("improved", "held")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """``unguarded`` are (domain, measure) that no earlier model could be measured in, so that nothing can be lost."""

    checks: tuple[Check, ...]
    unguarded: tuple[tuple[str, str], ...] = field(default=())

    @property
    def promotes(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[Check]:
        """What stands against promotion, falls first and the largest of them first."""
        order = ("fell", "worse", "cannot tell")
        failed = [check for check in self.checks if not check.passed]
        return sorted(failed, key=lambda check: (order.index(check.state), -_fall(check)))


def judge(candidate: Probed, earlier: Mapping[str, Probed], rule: Rule) -> Judgement:
    """The candidate against every model of ``earlier``, by what it is called; the first is the one to improve upon.

    A UserError where models were probed in different ways, or where the probe has no such measure or domain.
    """
    _check_names(candidate, rule)
    name, first = next(iter(earlier.items()))
    checks = [_improvement(candidate, first, name, rule)]
    unguarded: set[tuple[str, str]] = set()
    for name, model in earlier.items():
        domains = sorted({value.domain for value in (*model.values, *candidate.values)})
        for domain in domains:
            known = [measure for measure in rule.dynamics if _is_known(model, domain, measure)]
            unguarded |= {(domain, measure) for measure in rule.dynamics if measure not in known}
            # A domain in which nothing at all is known cannot pass unseen.
            checks += _guards(candidate, model, name, domain, known or rule.dynamics[:1], rule)
    return Judgement(checks=tuple(checks), unguarded=tuple(sorted(unguarded)))


def _improvement(candidate: Probed, model: Probed, name: str, rule: Rule) -> Check:
    driving = {value.domain for value in candidate.values if rule.is_driving(value.domain)}
    paired = _compare(model, candidate, rule.improve, driving, "driving", rule)
    state, why = "cannot tell", _too_little(paired, rule)
    if not why and paired.change:
        low, high = paired.change.fall_bounds
        state, why = ("improved", "") if high < 0 else ("worse", "") if low > 0 else (state, "no improvement is shown")
    return Check(against=name, paired=paired, tolerance=None, state=state, why=why)  # type: ignore[arg-type]


def _guards(
    candidate: Probed, model: Probed, name: str, domain: str, measures: Sequence[str], rule: Rule
) -> Iterator[Check]:
    for measure in measures:
        paired = _compare(model, candidate, measure, {domain}, domain, rule)
        state, why = "cannot tell", _too_little(paired, rule)
        if not why and paired.change:
            low, high = paired.change.fall_bounds
            unsure = f"a fall of more than {100 * rule.tolerance:g} % is not excluded"
            state, why = (
                ("held", "") if high <= rule.tolerance else ("fell", "") if low > rule.tolerance else (state, unsure)
            )
        yield Check(against=name, paired=paired, tolerance=rule.tolerance, state=state, why=why)  # type: ignore[arg-type]


def _compare(
    model: Probed, candidate: Probed, measure: str, domains: Collection[str], called: str, rule: Rule
) -> Paired:
    return compare(model, candidate, measure=measure, domains=domains, called=called, confidence=rule.confidence)


def _too_little(paired: Paired, rule: Rule) -> str:
    """Why the pairs cannot tell anything, or nothing."""
    if paired.num_pairs < rule.min_clips:
        clips = paired.num_pairs + len(paired.left_out)
        return f"measured under both models on {paired.num_pairs} of {clips} clips, {rule.min_clips} are needed"
    if len(paired.lost) > MOST_LOST * (paired.num_pairs + len(paired.lost)):
        return f"{len(paired.lost)} clips that could be measured before cannot be any more"
    return ""


def _is_known(model: Probed, domain: str, measure: str) -> bool:
    return any(v.value is not None for v in model.values if v.domain == domain and v.measure == measure)


def _check_names(candidate: Probed, rule: Rule) -> None:
    measures = sorted({value.measure for value in candidate.values})
    for measure in (rule.improve, *rule.dynamics):
        if measure not in measures:
            raise UserError(f"the probe has no measure {measure}; there are {', '.join(measures)}")
    domains = sorted({value.domain for value in candidate.values})
    if not any(rule.is_driving(domain) for domain in domains):
        patterns, there = ", ".join(rule.driving), ", ".join(domains)
        raise UserError(f"no domain of the probe is driving by {patterns}; there are {there}")


def _fall(check: Check) -> float:
    return check.paired.change.fall if check.paired.change else 0.0
