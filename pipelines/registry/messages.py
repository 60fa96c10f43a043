"""What is said of a promotion: which domain, which measure, by how much, and what was allowed."""

from collections.abc import Iterator

from rich.markup import escape

from driveforge.finetune.evaluation.paired_comparison import Change
from driveforge.finetune.evaluation.promotion_rule import PromotionCheck, PromotionDecision, State
from driveforge.pipelines.registry.versions import Version

_HEADS = {
    "regressed": "forgot",
    "worse": "worse",
    "inconclusive": "cannot tell",
    "improved": "improved",
    "retained": "kept",
}
_NAMED = 3  # clips that are named where more were left out


def lines_of(decision: PromotionDecision, candidate: Version, champion: Version | None) -> Iterator[str]:
    """The decision for a terminal, with colours: what was done, every reason against it, and the closest that held."""
    if decision.is_promoted:
        over = f", in place of {champion}" if champion else ", the first one"
        yield f"[green]PROMOTED[/green]  {escape(f'{candidate} is champion{over}')}"
    else:
        stays = f"{champion} stays champion" if champion else "there is no champion yet"
        yield f"[red]REFUSED[/red]   {escape(f'{candidate}: {stays}')}"
    for check in decision.failed or [check for check in decision.checks if check.tolerance is None]:
        colour = "green" if check.passed else "yellow" if check.state == "inconclusive" else "red"
        yield f"  [{colour}]{_HEADS[check.state]}[/{colour}]  {escape(sentence(check))}"
    kept = [check for check in decision.checks if check.state == "retained" and check.comparison.change]
    if kept:
        closest = max(
            kept, key=lambda check: check.comparison.change.regression_bounds[1] if check.comparison.change else 0.0
        )
        yield f"  kept in {len(kept)} of {_guards(decision)} checks, most nearly lost: {escape(sentence(closest))}"
    for check in kept:
        if check.comparison.excluded:
            where = f"{check.comparison.domain}, {check.comparison.measure}, against the {check.baseline}"
            yield f"  left out: {escape(f'{where}: {_named(check.comparison.excluded)}')}"
    for domain, measure in decision.unmeasured:
        yield f"  not guarded: {escape(f'{domain}, {measure}: no earlier model could be measured there')}"


def summary_of(decision: PromotionDecision, champion: Version | None) -> str:
    """The decision in plain lines, as the registry shows it beside the version."""
    over = f" against version {champion.number}" if champion else " against the base"
    told = [sentence(check) for check in decision.failed]
    return "\n".join([f"{'promoted' if decision.is_promoted else 'refused'}{over}", *told])


def sentence(check: PromotionCheck) -> str:
    """``orbit, displacement: 0.41 -> 0.58, worse by 42 % (28 to 57 %), 5 % allowed, against the champion``."""
    comparison, parts = check.comparison, []
    if comparison.change is not None:
        parts += [from_to(check), by_how_much(comparison.change)]
    if check.tolerance is not None:
        parts.append(f"{100 * check.tolerance:g} % allowed")
    parts.append(f"against the {check.baseline}")
    told = f"{comparison.domain}, {comparison.measure}: {', '.join(parts)}"
    if check.reason:
        told += f": {check.reason}"
    return f"{told}; left out: {_named(comparison.excluded)}" if comparison.excluded and not check.passed else told


def gist(decision: PromotionDecision) -> str:
    """The decision in a line: ``forgot orbit, walkers; cannot tell about falling``."""
    gravest: dict[str, State] = {}
    for check in decision.failed:
        gravest.setdefault(check.comparison.domain, check.state)
    domains: dict[State, list[str]] = {}
    for domain, state in gravest.items():
        domains.setdefault(state, []).append(domain)
    heads = {"regressed": "forgot", "worse": "worse on", "inconclusive": "cannot tell about"}
    told = [f"{heads[state]} {', '.join(names)}" for state, names in domains.items()]
    return "; ".join(told) or "driving improved, nothing was forgotten"


def from_to(check: PromotionCheck) -> str:
    """``0.446 -> 0.632``, or that no clip could be compared."""
    change = check.comparison.change
    return f"{change.before:.3g} -> {change.after:.3g}" if change else "no clip could be compared"


def by_how_much(change: Change) -> str:
    """``worse by 42 % (39 to 45 %)``, or ``better by 0.4 % (5.7 % worse to 3.6 % better)``."""
    word, other = ("worse", "better") if change.regression > 0 else ("better", "worse")
    low, high = sorted(end if change.regression > 0 else -end for end in change.regression_bounds)
    bounds = f"{_percent(low)} to {_percent(high)} %"
    if low < 0 < high:
        bounds = f"{_percent(-low)} % {other} to {_percent(high)} % {word}"
    return f"{word} by {_percent(abs(change.regression))} % ({bounds})" if change.regression else "the same"


def _percent(share: float) -> str:
    value = 100 * share
    if value == float("inf"):
        return "any"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def _guards(decision: PromotionDecision) -> int:
    return sum(check.tolerance is not None for check in decision.checks)


def _named(clips: tuple[tuple[str, str], ...]) -> str:
    """The first clips of those that were left out, each with the reason, and how many more there are."""
    more = f" and {len(clips) - _NAMED} more" if len(clips) > _NAMED else ""
    return "; ".join(f"{clip} ({reason})" for clip, reason in clips[:_NAMED]) + more
