"""The picture of a search: accepted share against seconds per clip, with the Pareto front."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from driveforge.datasets.files.atomic import atomic_file
from driveforge.pipelines.generate.tune.choice import pareto_front, recommend, share_interval
from driveforge.pipelines.generate.tune.grid import describe
from driveforge.pipelines.generate.tune.report import timing_of
from driveforge.pipelines.generate.tune.search import TrialResult

_FRONT, _BEST, _OTHER = "#2f6fb0", "#2f8f5b", "#999999"


def plot_results(path: Path, results: Sequence[TrialResult]) -> None:
    """Write a PNG: a numbered point with its 95 % interval per setting; the list at the right describes them."""
    front, best = pareto_front(results), recommend(results)
    ordered = sorted(results, key=lambda result: result.seconds)
    figure = Figure(figsize=(11, max(4.5, 0.8 + 0.3 * len(ordered))), layout="constrained")
    axes, legend = figure.subplots(1, 2, width_ratios=[3, 2])
    for number, result in enumerate(ordered, start=1):
        color = _BEST if result is best else _FRONT if result in front else _OTHER
        weight = "bold" if result in front else "normal"
        low, high = share_interval(result)
        axes.vlines(result.seconds, 100 * low, 100 * high, color=color, lw=1, alpha=0.5)
        axes.plot(result.seconds, 100 * result.share, "o", color=color, ms=7 if result in front else 5)
        axes.annotate(
            str(number),
            (result.seconds, 100 * result.share),
            xytext=(5, 4 if number % 2 else -11),  # neighbors do not overlap
            textcoords="offset points",
            color=color,
            fontsize=9,
            weight=weight,
        )
        note = " (recommended)" if result is best else " (current)" if result.is_current else ""
        text = f"{number}  {describe(result.settings)}: {sum(result.accepted)} of {len(result.accepted)}{note}"
        legend.text(0, 1 - number / (len(ordered) + 1), text, color=color, fontsize=9, weight=weight, va="center")
    axes.plot([r.seconds for r in front], [100 * r.share for r in front], color=_FRONT, lw=1.5, zorder=0)
    axes.set(
        xscale="log",
        ylim=(-3, 105),
        xlabel=f"{timing_of(results)} per clip, s, median",
        ylabel="accepted clips, %",
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.tick_params(which="both", labelsize=8, length=3, pad=3)
    if len({result.seconds for result in results}) == 1:
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("line: the Pareto front; bars: 95 % intervals", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    legend.axis("off")
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)
