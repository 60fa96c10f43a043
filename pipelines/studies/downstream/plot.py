"""The picture of the study: gains over real clips only, of every arm, over the share, and over the generators."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file
from driveforge.pipelines.studies.downstream.arms import ALL_GENERATED, MORE_REAL, REJECTED, Arm
from driveforge.pipelines.studies.downstream.comparisons import Comparison, GeneratorSummary
from driveforge.pipelines.studies.downstream.estimates import Estimate
from driveforge.pipelines.studies.downstream.evaluation import MAIN_METRICS
from driveforge.pipelines.studies.downstream.generators import ACCEPTED, SIMULATOR

LIGHT_GRAY = "#bbbbbb"
COLORS = {
    MORE_REAL: "#444c55",
    SIMULATOR: "#c77700",
    ACCEPTED: "#1d7a3e",
    ALL_GENERATED: "#1f4e8c",
    REJECTED: "#c21d2c",
}


def plot_study(path: Path, comparison: Comparison, summaries: Sequence[GeneratorSummary]) -> None:
    """Plot the gains, in a row for each metric."""
    figure = Figure(figsize=(15, 12), layout="constrained", facecolor="white")
    rows = figure.subplots(len(MAIN_METRICS), 3, gridspec_kw={"width_ratios": [1.5, 1, 1]})
    for (arms, share, quality), metric in zip(rows, MAIN_METRICS, strict=True):
        _plot_arms(arms, comparison, metric)
        _plot_share(share, comparison, metric)
        _plot_quality(quality, comparison, summaries, metric)
    for axes in rows.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, length=2)
    with atomic_file(path) as file:
        figure.savefig(file, dpi=100)


def _plot_arms(axes: Axes, comparison: Comparison, metric: str) -> None:
    """The gain of every arm, filled for all clips that there are, hollow for an equal number."""
    arms = [arm for arm in comparison.arms[1:] if arm.share == comparison.share]
    for place, arm in enumerate(reversed(arms)):
        gain = comparison.gain(arm, metric)
        axes.errorbar([gain.mean], [place], xerr=_bars(gain), fmt="o", ms=5, lw=1.2, color=COLORS[arm.what],
                      mfc="white" if arm.equal else COLORS[arm.what])  # fmt: skip
    axes.set_yticks(range(len(arms)), [_label(arm) for arm in reversed(arms)])
    axes.axvline(0, color=LIGHT_GRAY, lw=1)
    axes.set_xlabel("number: added clips; filled: all that there are, hollow: an equal number", fontsize=9)
    axes.set_title(f"{metric}: gain in average precision over real only, 95 % intervals", fontsize=10, loc="left")


def _label(arm: Arm) -> str:
    return f"{arm.title.removeprefix('real ')}, {arm.count}"


def _plot_share(axes: Axes, comparison: Comparison, metric: str) -> None:
    for what in (ACCEPTED, ALL_GENERATED):
        arms = comparison.sweep(what)
        gains = [comparison.gain(arm, metric) for arm in arms]
        shares = [100 * arm.share for arm in arms]
        axes.fill_between(shares, [g.low for g in gains], [g.high for g in gains], color=COLORS[what], alpha=0.13, lw=0)
        axes.plot(shares, [gain.mean for gain in gains], "o-", ms=4.5, color=COLORS[what], label=what)
    axes.axhline(0, color=LIGHT_GRAY, lw=1)
    axes.legend(fontsize=8.5, frameon=False)
    axes.set_xlabel("share of generated frames in a batch, %", fontsize=9)
    axes.set_title("gain over the share", fontsize=10, loc="left")


def _plot_quality(axes: Axes, comparison: Comparison, summaries: Sequence[GeneratorSummary], metric: str) -> None:
    """The gain of accepted and of all clips of the generators, in the order of their distance from the simulator."""
    ordered = sorted(summaries, key=lambda one: one.psnr)
    for shift, what in ((-0.08, ACCEPTED), (0.08, ALL_GENERATED)):
        found = [(place, comparison.largest_or_none(what, one.name)) for place, one in enumerate(ordered)]
        gains = [(place + shift, comparison.gain(arm, metric)) for place, arm in found if arm is not None]
        _points(axes, gains, what)
    _points(axes, [(len(ordered), comparison.gain(comparison.largest(SIMULATOR), metric))], SIMULATOR)
    labels = [f"{one.name}\n{one.psnr:.1f} dB\n{one.num_accepted / one.num_clips:.0%} accepted" for one in ordered]
    axes.set_xticks(range(len(labels) + 1), [*labels, SIMULATOR], fontsize=8)
    axes.set_xlim(-0.5, len(labels) + 0.5)
    axes.axhline(0, color=LIGHT_GRAY, lw=1)
    axes.set_title("gain over the quality of the generator", fontsize=10, loc="left")


def _points(axes: Axes, gains: Sequence[tuple[float, Estimate]], what: str) -> None:
    for place, gain in gains:
        axes.errorbar([place], [gain.mean], yerr=_bars(gain), fmt="o", ms=5, lw=1.2, color=COLORS[what])


def _bars(gain: Estimate) -> list[list[float]]:
    return [[gain.mean - gain.low], [gain.high - gain.mean]]
