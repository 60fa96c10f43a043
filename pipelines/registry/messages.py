"""Messages of a promotion: the domain, the measure, its change and the tolerance."""

from collections.abc import Iterator

from rich.markup import escape

from driveforge.finetune.evaluation.paired_comparison import Change
from driveforge.finetune.evaluation.promotion_rule import PromotionCheck, PromotionDecision, State
from driveforge.pipelines.registry.versions import Version

_HEADINGS = {
    "regressed": "regressed",
    "worse": "not improved",
    "inconclusive": "inconclusive",
    "improved": "improved",
    "retained": "retained",
}
_HEADLINES: dict[State, str] = {
    "regressed": "regressed on",
    "worse": "not improved on",
    "inconclusive": "inconclusive on",
}
_NUM_NAMED = 3  # excluded clips that a message names


def decision_lines(decision: PromotionDecision, candidate: Version, champion: Version | None) -> Iterator[str]:
    """The decision as rich markup: the outcome, every failed check, and the retained check closest to its tolerance."""
    if decision.is_promoted:
        replaced = f", in place of {champion}" if champion else ", the first one"
        yield f"[green]PROMOTED[/green]  {escape(f'{candidate} is champion{replaced}')}"
    else:
        current = f"{champion} remains champion" if champion else "there is no champion yet"
        yield f"[red]REFUSED[/red]   {escape(f'{candidate}: {current}')}"
    for check in decision.failed or [check for check in decision.checks if check.tolerance is None]:
        color = _color(check)
        yield f"  [{color}]{_HEADINGS[check.state]}[/{color}]  {escape(describe_check(check))}"
    retained = [check for check in decision.checks if check.state == "retained" and check.comparison.change]
    if retained:
        yield (
            f"  retained in {len(retained)} of {_count_guards(decision)} checks, "
            f"closest to the tolerance: {escape(describe_check(max(retained, key=_upper_bound)))}"
        )
    for check in retained:
        if check.comparison.excluded:
            where = f"{check.comparison.domain}, {check.comparison.measure}, against the {check.baseline}"
            yield f"  excluded: {escape(f'{where}: {_format_excluded(check.comparison.excluded)}')}"
    for domain, measure in decision.unmeasured:
        yield f"  not checked: {escape(f'{domain}, {measure}: no earlier model could be measured there')}"


def plain_summary(decision: PromotionDecision, champion: Version | None) -> str:
    """The decision as plain text, for the description of the version in the registry."""
    outcome = "promoted" if decision.is_promoted else "refused"
    baseline = f"version {champion.number}" if champion else "the base"
    return "\n".join([f"{outcome} against {baseline}", *map(describe_check, decision.failed)])


def describe_check(check: PromotionCheck) -> str:
    """``orbit, displacement: 0.41 -> 0.58, worse by 42 % (28 to 57 %), 5 % allowed, against the champion``."""
    comparison, parts = check.comparison, []
    if comparison.change is not None:
        parts += [format_values(check), format_change(comparison.change)]
    if check.tolerance is not None:
        parts.append(f"{100 * check.tolerance:g} % allowed")
    parts.append(f"against the {check.baseline}")
    text = f"{comparison.domain}, {comparison.measure}: {', '.join(parts)}"
    if check.reason:
        text += f": {check.reason}"
    if comparison.excluded and not check.passed:
        text += f"; excluded: {_format_excluded(comparison.excluded)}"
    return text


def headline(decision: PromotionDecision) -> str:
    """The decision in one line: ``regressed on orbit, walkers; inconclusive on falling``."""
    worst: dict[str, State] = {}
    for check in decision.failed:
        worst.setdefault(check.comparison.domain, check.state)
    domains: dict[State, list[str]] = {}
    for domain, state in worst.items():
        domains.setdefault(state, []).append(domain)
    text = [f"{_HEADLINES[state]} {', '.join(names)}" for state, names in domains.items()]
    return "; ".join(text) or "driving improved, no regression"


def format_values(check: PromotionCheck) -> str:
    """``0.446 -> 0.632``, or ``no clip could be compared``."""
    change = check.comparison.change
    return f"{change.before:.3g} -> {change.after:.3g}" if change else "no clip could be compared"


def format_change(change: Change) -> str:
    """``worse by 42 % (39 to 45 %)``, or ``better by 0.4 % (5.7 % worse to 3.6 % better)``."""
    direction, opposite = ("worse", "better") if change.regression > 0 else ("better", "worse")
    low, high = sorted(end if change.regression > 0 else -end for end in change.regression_bounds)
    bounds = f"{_format_percent(low)} to {_format_percent(high)} %"
    if low < 0 < high:
        bounds = f"{_format_percent(-low)} % {opposite} to {_format_percent(high)} % {direction}"
    return f"{direction} by {_format_percent(abs(change.regression))} % ({bounds})" if change.regression else "the same"


def _color(check: PromotionCheck) -> str:
    if check.passed:
        return "green"
    return "yellow" if check.state == "inconclusive" else "red"


def _upper_bound(check: PromotionCheck) -> float:
    """The upper bound of the regression; 0 without a comparison."""
    return check.comparison.change.regression_bounds[1] if check.comparison.change else 0.0


def _format_percent(share: float) -> str:
    value = 100 * share
    if value == float("inf"):
        return "any"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def _count_guards(decision: PromotionDecision) -> int:
    return sum(check.tolerance is not None for check in decision.checks)


def _format_excluded(clips: tuple[tuple[str, str], ...]) -> str:
    """The first excluded clips with their reasons, and the number of the others."""
    more = f" and {len(clips) - _NUM_NAMED} more" if len(clips) > _NUM_NAMED else ""
    return "; ".join(f"{clip} ({reason})" for clip, reason in clips[:_NUM_NAMED]) + more
