"""What is said of a promotion: which domain, which measure, by how much, and what was allowed."""

from collections.abc import Iterator

from rich.markup import escape

from driveforge.finetune.evaluation.paired import Change
from driveforge.finetune.evaluation.promotion_rule import Check, Judgement, State
from driveforge.pipelines.registry.versions import Version

_HEADS = {"fell": "forgot", "worse": "worse", "cannot tell": "cannot tell", "improved": "improved", "held": "kept"}
_NAMED = 3  # clips that are named where more were left out


def lines_of(judgement: Judgement, candidate: Version, champion: Version | None) -> Iterator[str]:
    """The decision for a terminal, with colours: what was done, every reason against it, and the closest that held."""
    if judgement.promotes:
        over = f", in place of {champion}" if champion else ", the first one"
        yield f"[green]PROMOTED[/green]  {escape(f'{candidate} is champion{over}')}"
    else:
        stays = f"{champion} stays champion" if champion else "there is no champion yet"
        yield f"[red]REFUSED[/red]   {escape(f'{candidate}: {stays}')}"
    for check in judgement.failed or [check for check in judgement.checks if check.tolerance is None]:
        colour = "green" if check.passed else "yellow" if check.state == "cannot tell" else "red"
        yield f"  [{colour}]{_HEADS[check.state]}[/{colour}]  {escape(sentence(check))}"
    kept = [check for check in judgement.checks if check.state == "held" and check.paired.change]
    if kept:
        closest = max(kept, key=lambda check: check.paired.change.fall_bounds[1] if check.paired.change else 0.0)
        yield f"  kept in {len(kept)} of {_guards(judgement)} checks, most nearly lost: {escape(sentence(closest))}"
    for check in kept:
        if check.paired.left_out:
            where = f"{check.paired.domain}, {check.paired.measure}, against the {check.against}"
            yield f"  left out: {escape(f'{where}: {_named(check.paired.left_out)}')}"
    for domain, measure in judgement.unguarded:
        yield f"  not guarded: {escape(f'{domain}, {measure}: no earlier model could be measured there')}"


def summary_of(judgement: Judgement, champion: Version | None) -> str:
    """The decision in plain lines, as the registry shows it beside the version."""
    over = f" against version {champion.number}" if champion else " against the base"
    told = [sentence(check) for check in judgement.failed]
    return "\n".join([f"{'promoted' if judgement.promotes else 'refused'}{over}", *told])


def sentence(check: Check) -> str:
    """``orbit, displacement: 0.41 -> 0.58, worse by 42 % (28 to 57 %), 5 % allowed, against the champion``."""
    paired, parts = check.paired, []
    if paired.change is not None:
        parts += [from_to(check), by_how_much(paired.change)]
    if check.tolerance is not None:
        parts.append(f"{100 * check.tolerance:g} % allowed")
    parts.append(f"against the {check.against}")
    told = f"{paired.domain}, {paired.measure}: {', '.join(parts)}"
    if check.why:
        told += f": {check.why}"
    return f"{told}; left out: {_named(paired.left_out)}" if paired.left_out and not check.passed else told


def gist(judgement: Judgement) -> str:
    """The decision in a line: ``forgot orbit, walkers; cannot tell about falling``."""
    gravest: dict[str, State] = {}
    for check in judgement.failed:
        gravest.setdefault(check.paired.domain, check.state)
    domains: dict[State, list[str]] = {}
    for domain, state in gravest.items():
        domains.setdefault(state, []).append(domain)
    heads = {"fell": "forgot", "worse": "worse on", "cannot tell": "cannot tell about"}
    told = [f"{heads[state]} {', '.join(names)}" for state, names in domains.items()]
    return "; ".join(told) or "driving improved, nothing was forgotten"


def from_to(check: Check) -> str:
    """``0.446 -> 0.632``, or that no clip could be compared."""
    change = check.paired.change
    return f"{change.before:.3g} -> {change.after:.3g}" if change else "no clip could be compared"


def by_how_much(change: Change) -> str:
    """``worse by 42 % (39 to 45 %)``, or ``better by 0.4 % (5.7 % worse to 3.6 % better)``."""
    word, other = ("worse", "better") if change.fall > 0 else ("better", "worse")
    low, high = sorted(end if change.fall > 0 else -end for end in change.fall_bounds)
    bounds = f"{_percent(low)} to {_percent(high)} %"
    if low < 0 < high:
        bounds = f"{_percent(-low)} % {other} to {_percent(high)} % {word}"
    return f"{word} by {_percent(abs(change.fall))} % ({bounds})" if change.fall else "the same"


def _percent(share: float) -> str:
    value = 100 * share
    if value == float("inf"):
        return "any"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def _guards(judgement: Judgement) -> int:
    return sum(check.tolerance is not None for check in judgement.checks)


def _named(clips: tuple[tuple[str, str], ...]) -> str:
    """The first clips of those that were left out, each with the reason, and how many more there are."""
    more = f" and {len(clips) - _NAMED} more" if len(clips) > _NAMED else ""
    return "; ".join(f"{clip} ({why})" for clip, why in clips[:_NAMED]) + more
