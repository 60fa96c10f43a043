"""The picture of a promotion: every check against its tolerance, and the history of selected measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from driveforge.datasets.files.atomic import atomic_file
from driveforge.finetune.evaluation.history import CheckpointEvaluation
from driveforge.finetune.evaluation.paired_comparison import PairedComparison, compare, metric_sign
from driveforge.finetune.evaluation.promotion_rule import PromotionCheck, PromotionDecision, State
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.pipelines.registry.messages import format_change, format_values, headline

INK, FAINT, GRID = "#222222", "#9aa4ad", "#eef0f2"
COLORS: dict[State, str] = {
    "improved": "#1d7a3e",
    "retained": "#1d7a3e",
    "inconclusive": "#c77700",
    "regressed": "#c21d2c",
    "worse": "#c21d2c",
}
_MARKERS = ("o", "D")  # by baseline
_MAX_REGRESSION = 1.0  # the largest regression on the axis; larger ones are clipped to its end


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    """One checkpoint in one measure, compared with the first: mean and bounds in the unit of the measure."""

    step: int
    mean: float
    low: float
    high: float
    comparison: PairedComparison


def plot_promotion(
    path: Path, decision: PromotionDecision, history: Sequence[CheckpointEvaluation], rule: PromotionRule
) -> None:
    """Write a PNG: on the left one row per domain and measure, on the right values over the steps of the run."""
    rows = list(
        dict.fromkeys((c.comparison.domain, c.comparison.measure, c.tolerance is None) for c in decision.checks)
    )
    figure = Figure(figsize=(12.5, max(5.2, 1.9 + 0.34 * len(rows))), layout="constrained", facecolor="white")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.35, 1])[0]
    _plot_checks(left.subplots(), decision, rows, rule)
    shown = _plotted_checks(decision)
    for axes, check in zip(np.atleast_1d(right.subplots(len(shown), 1)), shown, strict=True):
        _plot_history(axes, check, history, rule)
    verdict, color = ("PROMOTED", COLORS["retained"]) if decision.is_promoted else ("REFUSED", COLORS["regressed"])
    figure.suptitle(f"{verdict}   {headline(decision)}", color=color, weight="bold", fontsize=13, x=0.012, ha="left")
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)


def _plot_checks(
    axes: Axes, decision: PromotionDecision, rows: Sequence[tuple[str, str, bool]], rule: PromotionRule
) -> None:
    baselines = list(dict.fromkeys(check.baseline for check in decision.checks))
    ends = [
        abs(end)
        for c in decision.checks
        if c.comparison.change
        for end in (c.comparison.change.regression, *_finite(c))
    ]
    axis_limit = min(_MAX_REGRESSION, 1.12 * max([3 * rule.tolerance, *ends]))
    axes.axvline(0, color=FAINT, lw=1)
    for row, (*_, must_improve) in enumerate(rows):
        limit, span = 0.0 if must_improve else rule.tolerance, (row - 0.5, row + 0.5)
        axes.fill_betweenx(span, limit, axis_limit, color=COLORS["regressed"], alpha=0.07, lw=0)
        axes.plot([limit, limit], span, color=COLORS["regressed"], lw=1.2, ls="--")
    for check in decision.checks:
        row = rows.index((check.comparison.domain, check.comparison.measure, check.tolerance is None))
        # Several baselines share a row, around its center.
        shift = (baselines.index(check.baseline) - (len(baselines) - 1) / 2) * 0.34
        _plot_check(axes, check, row + shift, axis_limit, _MARKERS[baselines.index(check.baseline)])
        axes.text(1.01, row + shift, format_values(check), color=COLORS[check.state], fontsize=8, va="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set(xlim=(-axis_limit, axis_limit), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
    axes.set_yticklabels(
        [f"{domain} · {measure}{' (must improve)' if must_improve else ''}" for domain, measure, must_improve in rows]
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
        f" tolerance: {100 * rule.tolerance:g} %",
        color=COLORS["regressed"],
        fontsize=8.5,
        va="top",
    )
    for marker, name in zip(_MARKERS, baselines, strict=False):
        axes.plot([], [], marker, color=FAINT, label=f"against the {name}", ms=6)
    axes.legend(loc="upper left", fontsize=8.5, frameon=False, handletextpad=0.2)
    axes.tick_params(labelsize=9, length=0)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _plot_check(axes: Axes, check: PromotionCheck, y: float, axis_limit: float, marker: str) -> None:
    color, change = COLORS[check.state], check.comparison.change
    if change is None:
        axes.text(0, y, " no clips in common", color=color, fontsize=8, va="center")
        return
    low, high = np.clip(change.regression_bounds, -axis_limit, axis_limit)
    axes.plot([low, high], [y, y], color=color, lw=2.4, solid_capstyle="butt")
    at = float(np.clip(change.regression, -axis_limit, axis_limit))
    axes.plot([at], [y], marker, color=color, ms=6.5, mec="white", mew=0.8)
    for end, arrow in ((change.regression_bounds[0], "<"), (change.regression_bounds[1], ">")):
        if abs(end) > axis_limit:
            axes.plot([np.copysign(0.985 * axis_limit, end)], [y], arrow, color=color, ms=5)


def _finite(check: PromotionCheck) -> list[float]:
    bounds = check.comparison.change.regression_bounds if check.comparison.change else ()
    return [end for end in bounds if abs(end) < float("inf")]


def _plotted_checks(decision: PromotionDecision) -> list[PromotionCheck]:
    """The first failed check, or the one closest to its tolerance, and the checks of improvement."""
    improvements = [check for check in decision.checks if check.tolerance is None]
    guards = [check for check in (*decision.failed, *decision.checks) if check.tolerance is not None]
    failed = [check for check in guards if not check.passed]
    closest = sorted(guards, key=lambda c: -c.comparison.change.regression_bounds[1] if c.comparison.change else 0)
    return [*(failed[:1] or closest[:1]), *improvements]


def _plot_history(
    axes: Axes, check: PromotionCheck, history: Sequence[CheckpointEvaluation], rule: PromotionRule
) -> None:
    """The measure of a check over the steps of the run; with only two evaluations, one line per clip."""
    comparison, color = check.comparison, COLORS[check.state]
    points = _points(check, history, rule)
    if len(points) > 2:
        steps = [point.step for point in points]
        axes.fill_between(steps, [p.low for p in points], [p.high for p in points], color=color, alpha=0.16, lw=0)
        axes.plot(steps, [point.mean for point in points], color=color, lw=2, marker="o", ms=4.5)
        axes.set_xlabel("optimizer steps", fontsize=9)
    elif len(points) == 2:
        _plot_clips(axes, check, history, rule, color)
    if points:
        start = points[0].mean
        axes.axhline(start, color=FAINT, lw=1, ls=":")
        if check.tolerance is not None:
            allowed = start * (1 - metric_sign(comparison.measure) * check.tolerance)
            axes.axhline(allowed, color=COLORS["regressed"], lw=1.2, ls="--")
            axes.text(1.0, allowed, "tolerance ", color=COLORS["regressed"], fontsize=8.5, ha="right", va="bottom",
                      transform=axes.get_yaxis_transform())  # fmt: skip
    subtitle = f"\n{format_change(comparison.change)}, against the {check.baseline}" if comparison.change else ""
    better = "up" if metric_sign(comparison.measure) > 0 else "down"
    axes.set_title(
        f"{comparison.domain} · {comparison.measure}  ({better} is better){subtitle}",
        fontsize=10,
        loc="left",
        color=INK,
    )
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(labelsize=8.5, length=2)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _points(check: PromotionCheck, history: Sequence[CheckpointEvaluation], rule: PromotionRule) -> list[_Point]:
    domains = _domains(check, history, rule)
    points = []
    for checkpoint in history:
        comparison = compare(
            history[0].evaluation,
            checkpoint.evaluation,
            measure=check.comparison.measure,
            domains=domains,
            label=check.comparison.domain,
            confidence=rule.confidence,
        )
        if comparison.change:
            start, (low, high) = comparison.change.before, comparison.change.difference_bounds
            mean = comparison.change.after
            points.append(
                _Point(step=checkpoint.step, mean=mean, low=start + low, high=start + high, comparison=comparison)
            )
    return points


def _plot_clips(
    axes: Axes, check: PromotionCheck, history: Sequence[CheckpointEvaluation], rule: PromotionRule, color: str
) -> None:
    """One line per clip from the first model to the last, and their means."""
    domains = _domains(check, history, rule)
    found = [
        {
            v.clip_id: v.value
            for v in checkpoint.evaluation.values
            if v.measure == check.comparison.measure and v.domain in domains
        }
        for checkpoint in history
    ]
    pairs = np.array([
        (found[0][clip], found[-1][clip])
        for clip in found[0]
        if found[0][clip] is not None and found[-1].get(clip) is not None
    ], float)  # fmt: skip
    axes.plot([0, 1], pairs.T, color=color, lw=0.9, alpha=0.4)
    axes.plot([0, 1], pairs.mean(0), color=color, lw=2.6, marker="o", ms=6)
    axes.set(xticks=[0, 1], xlim=(-0.15, 1.15))
    axes.set_xticklabels([f"step {checkpoint.step}" for checkpoint in (history[0], history[-1])])


def _domains(check: PromotionCheck, history: Sequence[CheckpointEvaluation], rule: PromotionRule) -> set[str]:
    if check.tolerance is not None:
        return {check.comparison.domain}
    values = [value for checkpoint in history for value in checkpoint.evaluation.values]
    return {value.domain for value in values if rule.is_driving(value.domain)}
