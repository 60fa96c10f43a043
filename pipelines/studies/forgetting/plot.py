"""The picture of the forgetting study."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file
from driveforge.pipelines.studies.forgetting import results
from driveforge.pipelines.studies.forgetting.results import Estimate, KeyMetrics, StudyMetric
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.variants import (
    ADAPTIVE,
    HIGH_LR_VARIANTS,
    INTERPOLATE,
    NAIVE,
    SHARE_SWEEP,
    USUAL_SHARE,
    VARIANTS,
    Variant,
    replay_label,
)

LIGHT_GRAY, OTHER_COLOR = "#bbbbbb", "#6b7680"
COLORS = {NAIVE: "#c21d2c", replay_label(USUAL_SHARE): "#1f4e8c", ADAPTIVE: "#1d7a3e", INTERPOLATE: "#c77700"}


def plot_results(path: Path, run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> None:
    """Plot changes of driving against those of other domains, by loss and by frames, and losses over the share."""
    figure = Figure(figsize=(13, 10), layout="constrained", facecolor="white")
    panels = figure.subplots(2, 2)
    (by_loss, by_frames), (third, share_sweep) = panels
    _plot_tradeoff(by_loss, run_results, VARIANTS, key_metrics.visual_loss, key_metrics.dynamics_loss)
    _plot_tradeoff(by_frames, run_results, VARIANTS, key_metrics.visual, key_metrics.dynamics)
    if results.names_with_runs(run_results, HIGH_LR_VARIANTS):
        _plot_tradeoff(third, run_results, HIGH_LR_VARIANTS, key_metrics.visual, key_metrics.dynamics)
        title = f"change from the base, at {HIGH_LR_VARIANTS[0].lr_factor:g} x the learning rate"
        third.set_title(title, fontsize=10, loc="left")
    else:
        _plot_tradeoff(third, run_results, VARIANTS, key_metrics.visual_psnr, key_metrics.dynamics_psnr)
    _plot_share_sweep(share_sweep, run_results, key_metrics)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, length=2)
    with atomic_file(path) as file:
        figure.savefig(file, dpi=100)


def _plot_tradeoff(
    axes: Axes,
    run_results: Sequence[RunResult],
    variants: Sequence[Variant],
    x_metric: StudyMetric,
    y_metric: StudyMetric,
) -> None:
    """Plot every strategy as a point with intervals; right and up are better."""
    label_of = {variant.name: variant.label for variant in variants}
    for name in results.names_with_runs(run_results, variants):
        right, high = (results.change_from_base(run_results, name, metric) for metric in (x_metric, y_metric))
        color = COLORS.get(label_of[name], OTHER_COLOR)
        axes.errorbar([right.mean], [high.mean], xerr=_error_bars(right), yerr=_error_bars(high), fmt="o", ms=5, lw=0.6,
                      color=color, alpha=0.75)  # fmt: skip
        axes.annotate(label_of[name], (right.mean, high.mean), xytext=(5, 4), textcoords="offset points", fontsize=8,
                      color=color)  # fmt: skip
    axes.axhline(0, color=LIGHT_GRAY, lw=1)
    axes.axvline(0, color=LIGHT_GRAY, lw=1)
    axes.set_xlabel(f"better {x_metric.label} \N{RIGHTWARDS ARROW}", fontsize=9)
    axes.set_ylabel(f"better {y_metric.label} \N{RIGHTWARDS ARROW}", fontsize=9)
    axes.set_title("change from the base", fontsize=10, loc="left")


def _plot_share_sweep(axes: Axes, run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> None:
    names = results.names_with_runs(run_results, SHARE_SWEEP)
    shares = [100 * results.replay_share(run_results, name) for name in names]
    for metric, color in (
        (key_metrics.visual_loss, COLORS[NAIVE]),
        (key_metrics.dynamics_loss, COLORS[replay_label(USUAL_SHARE)]),
    ):
        found = [results.change_from_base(run_results, name, metric) for name in names]
        axes.fill_between(shares, [f.low for f in found], [f.high for f in found], color=color, alpha=0.15, lw=0)
        axes.plot(shares, [f.mean for f in found], "o-", color=color, ms=4.5, label=metric.label)
    axes.axhline(0, color=LIGHT_GRAY, lw=1)
    axes.legend(fontsize=8.5, frameon=False)
    axes.set_xlabel("replay share, %", fontsize=9)
    axes.set_title("improvement of losses over the replay share", fontsize=10, loc="left")


def _error_bars(found: Estimate) -> list[list[float]]:
    return [[found.mean - found.low], [found.high - found.mean]]
