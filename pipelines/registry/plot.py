"""A promotion as a picture: every check against what was allowed, and the course of what was gained and lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from driveforge.datasets.files.atomic import atomic_file
from driveforge.finetune.evaluation.history import Stage
from driveforge.finetune.evaluation.paired import Paired, compare, sign_of
from driveforge.finetune.evaluation.promotion_rule import Check, Judgement, State
from driveforge.finetune.evaluation.promotion_settings import Rule
from driveforge.pipelines.registry.messages import by_how_much, from_to, gist

INK, FAINT, GRID = "#222222", "#9aa4ad", "#eef0f2"
COLOURS: dict[State, str] = {
    "improved": "#1d7a3e",
    "held": "#1d7a3e",
    "cannot tell": "#c77700",
    "fell": "#c21d2c",
    "worse": "#c21d2c",
}
_MARKERS = ("o", "D")  # of the earlier models, in their order
_FARTHEST = 1.0  # a fall that is shown to scale; farther ones are at the rim


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    """A model of the course in one measure, against the first: mean and bounds in the measure's unit."""

    step: int
    mean: float
    low: float
    high: float
    paired: Paired


def draw(path: Path, judgement: Judgement, course: Sequence[Stage], rule: Rule) -> None:
    """Write a PNG: left a row a domain and measure, right their values over the steps of the run."""
    rows = list(dict.fromkeys((c.paired.domain, c.paired.measure, c.tolerance is None) for c in judgement.checks))
    figure = Figure(figsize=(12.5, max(5.2, 1.9 + 0.34 * len(rows))), layout="constrained", facecolor="white")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.35, 1])[0]
    _draw_checks(left.subplots(), judgement, rows, rule)
    shown = _courses(judgement)
    for axes, check in zip(np.atleast_1d(right.subplots(len(shown), 1)), shown, strict=True):
        _draw_course(axes, check, course, rule)
    verdict, colour = ("PROMOTED", COLOURS["held"]) if judgement.promotes else ("REFUSED", COLOURS["fell"])
    figure.suptitle(f"{verdict}   {gist(judgement)}", color=colour, weight="bold", fontsize=13, x=0.012, ha="left")
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)


def _draw_checks(axes: Axes, judgement: Judgement, rows: Sequence[tuple[str, str, bool]], rule: Rule) -> None:
    against = list(dict.fromkeys(check.against for check in judgement.checks))
    ends = [abs(end) for c in judgement.checks if c.paired.change for end in (c.paired.change.fall, *_finite(c))]
    rim = min(_FARTHEST, 1.12 * max([3 * rule.tolerance, *ends]))
    axes.axvline(0, color=FAINT, lw=1)
    for row, (*_, gains) in enumerate(rows):
        limit, span = 0.0 if gains else rule.tolerance, (row - 0.5, row + 0.5)
        axes.fill_betweenx(span, limit, rim, color=COLOURS["fell"], alpha=0.07, lw=0)
        axes.plot([limit, limit], span, color=COLOURS["fell"], lw=1.2, ls="--")
    for check in judgement.checks:
        row = rows.index((check.paired.domain, check.paired.measure, check.tolerance is None))
        shift = (against.index(check.against) - (len(against) - 1) / 2) * 0.34
        _draw_check(axes, check, row + shift, rim, _MARKERS[against.index(check.against)])
        axes.text(1.01, row + shift, from_to(check), color=COLOURS[check.state], fontsize=8, va="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set(xlim=(-rim, rim), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
    axes.set_yticklabels(
        [f"{domain} · {measure}{' (must improve)' if gains else ''}" for domain, measure, gains in rows]
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(
        f"better  \N{LEFTWARDS ARROW}   change of the mean over clips, bounds at {100 * rule.confidence:g} %   "
        "\N{RIGHTWARDS ARROW}  worse",
        fontsize=9,
    )
    axes.text(
        rule.tolerance,
        0.52,
        f" allowed: {100 * rule.tolerance:g} %",
        color=COLOURS["fell"],
        fontsize=8.5,
        va="top",
    )
    for marker, name in zip(_MARKERS, against, strict=False):
        axes.plot([], [], marker, color=FAINT, label=f"against the {name}", ms=6)
    axes.legend(loc="upper left", fontsize=8.5, frameon=False, handletextpad=0.2)
    axes.tick_params(labelsize=9, length=0)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_check(axes: Axes, check: Check, place: float, rim: float, marker: str) -> None:
    colour, change = COLOURS[check.state], check.paired.change
    if change is None:
        axes.text(0, place, " no clips in common", color=colour, fontsize=8, va="center")
        return
    low, high = np.clip(change.fall_bounds, -rim, rim)
    axes.plot([low, high], [place, place], color=colour, lw=2.4, solid_capstyle="butt")
    at = float(np.clip(change.fall, -rim, rim))
    axes.plot([at], [place], marker, color=colour, ms=6.5, mec="white", mew=0.8)
    for end, arrow in ((change.fall_bounds[0], "<"), (change.fall_bounds[1], ">")):
        if abs(end) > rim:
            axes.plot([np.copysign(0.985 * rim, end)], [place], arrow, color=colour, ms=5)


def _finite(check: Check) -> list[float]:
    bounds = check.paired.change.fall_bounds if check.paired.change else ()
    return [end for end in bounds if abs(end) < float("inf")]


def _courses(judgement: Judgement) -> list[Check]:
    """What was gained, and what was lost or most nearly so."""
    gained = [check for check in judgement.checks if check.tolerance is None]
    guards = [check for check in (*judgement.failed, *judgement.checks) if check.tolerance is not None]
    failed = [check for check in guards if not check.passed]
    lost = failed[:1] or sorted(guards, key=lambda c: -c.paired.change.fall_bounds[1] if c.paired.change else 0)[:1]
    return [*lost, *gained]


def _draw_course(axes: Axes, check: Check, course: Sequence[Stage], rule: Rule) -> None:
    """The measure of a check over the steps of the run; where only two models were probed, every clip is a line."""
    paired, colour = check.paired, COLOURS[check.state]
    points = _points(check, course, rule)
    if len(points) > 2:
        steps = [point.step for point in points]
        axes.fill_between(steps, [p.low for p in points], [p.high for p in points], color=colour, alpha=0.16, lw=0)
        axes.plot(steps, [point.mean for point in points], color=colour, lw=2, marker="o", ms=4.5)
        axes.set_xlabel("optimiser steps", fontsize=9)
    elif len(points) == 2:
        _draw_clips(axes, check, course, rule, colour)
    if points:
        start = points[0].mean
        axes.axhline(start, color=FAINT, lw=1, ls=":")
        if check.tolerance is not None:
            allowed = start * (1 - sign_of(paired.measure) * check.tolerance)
            axes.axhline(allowed, color=COLOURS["fell"], lw=1.2, ls="--")
            axes.text(1.0, allowed, "allowed ", color=COLOURS["fell"], fontsize=8.5, ha="right", va="bottom",
                      transform=axes.get_yaxis_transform())  # fmt: skip
    told = f"\n{by_how_much(paired.change)}, against the {check.against}" if paired.change else ""
    better = "up" if sign_of(paired.measure) > 0 else "down"
    axes.set_title(
        f"{paired.domain} · {paired.measure}  ({better} is better){told}", fontsize=10, loc="left", color=INK
    )
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(labelsize=8.5, length=2)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _points(check: Check, course: Sequence[Stage], rule: Rule) -> list[_Point]:
    domains = _domains(check, course, rule)
    points = []
    for stage in course:
        paired = compare(
            course[0].probed,
            stage.probed,
            measure=check.paired.measure,
            domains=domains,
            called=check.paired.domain,
            confidence=rule.confidence,
        )
        if paired.change:
            start, (low, high) = paired.change.before, paired.change.difference_bounds
            mean = paired.change.after
            points.append(_Point(step=stage.step, mean=mean, low=start + low, high=start + high, paired=paired))
    return points


def _draw_clips(axes: Axes, check: Check, course: Sequence[Stage], rule: Rule, colour: str) -> None:
    """A line a clip from one model to the other, and their means."""
    domains = _domains(check, course, rule)
    found = [
        {v.clip_id: v.value for v in stage.probed.values if v.measure == check.paired.measure and v.domain in domains}
        for stage in course
    ]
    pairs = np.array([
        (found[0][clip], found[-1][clip])
        for clip in found[0]
        if found[0][clip] is not None and found[-1].get(clip) is not None
    ], float)  # fmt: skip
    axes.plot([0, 1], pairs.T, color=colour, lw=0.9, alpha=0.4)
    axes.plot([0, 1], pairs.mean(0), color=colour, lw=2.6, marker="o", ms=6)
    axes.set(xticks=[0, 1], xlim=(-0.15, 1.15))
    axes.set_xticklabels([f"step {stage.step}" for stage in (course[0], course[-1])])


def _domains(check: Check, course: Sequence[Stage], rule: Rule) -> set[str]:
    if check.tolerance is not None:
        return {check.paired.domain}
    return {value.domain for stage in course for value in stage.probed.values if rule.is_driving(value.domain)}
