"""The pictures of reports: yields with their intervals, and the reasons of rejections by model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file
from driveforge.pipelines.report.ledger import LedgerRow
from driveforge.pipelines.report.yields import Yield

_BLUE, _GRAY = "#2f6fb0", "#8a8f98"
_MAX_REASONS = 24


def plot_yields(path: Path, yields: Sequence[Yield]) -> None:
    """Write a PNG: the posterior mean of every condition with its 90 % interval; the line is the yield of all clips."""
    labels, places, place = [], [], 0.0
    for number, row in enumerate(yields):
        place += 1.6 if number and row.condition != yields[number - 1].condition else 1.0
        places.append(place)
        labels.append("all clips" if row.condition == "all" else f"{row.condition.replace('_', ' ')}: {row.value}")
    figure = Figure(figsize=(9, 1.3 + 0.27 * place), layout="constrained")
    axes = figure.subplots()
    axes.axvline(yields[0].mean, color=_GRAY, lw=1, ls=":")
    for row, y in zip(yields, places, strict=True):
        color = _GRAY if row.condition == "all" else _BLUE
        axes.plot([row.low, row.high], [y, y], color=color, lw=2)
        axes.plot(row.mean, y, "o", color=color, ms=5)
        axes.text(1.02, y, f"{row.num_accepted} of {row.num_clips}", va="center", fontsize=8, color="#333333")
    axes.set(xlim=(0, 1), yticks=places, xlabel="share of clips that is accepted: posterior mean, 90 % interval")
    axes.set_yticklabels(labels, fontsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title("Yield by condition", loc="left", fontsize=11)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=130)


def plot_ledger(path: Path, rows: Sequence[LedgerRow]) -> None:
    """Write a PNG: the share of the clips of each model that has each reason, the most frequent reasons first."""
    overall = [row for row in rows if row.condition == "all"]
    models = list(dict.fromkeys(row.model for row in overall))
    totals = {reason: sum(row.count for row in overall if row.reason == reason) for reason in _reasons(overall)}
    reasons = sorted(totals, key=lambda reason: (-totals[reason], reason))[:_MAX_REASONS]
    cells = {(row.reason, row.model): row for row in overall}
    shares = np.array([[cells[reason, model].share for model in models] for reason in reasons]).reshape(-1, len(models))
    figure = Figure(figsize=(3.6 + 1.3 * len(models), 1.6 + 0.3 * max(len(reasons), 1)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(0.5, float(shares.max(initial=0))), aspect="auto")
    for y, reason in enumerate(reasons):
        for x, model in enumerate(models):
            row = cells[reason, model]
            color = "white" if row.share > 0.35 else "#222222"
            axes.text(x, y, f"{row.count} of {row.num_clips}", ha="center", va="center", fontsize=8, color=color)
    axes.set(xticks=range(len(models)), yticks=range(len(reasons)))
    since = {row.model: row.since for row in overall}
    axes.set_xticklabels([f"{model[:8]}\n{since[model][:10]}" for model in models], fontsize=8)
    axes.set_yticklabels([reason.replace("_", " ").lower() for reason in reasons], fontsize=8)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.suptitle("Clips that were not accepted, by reason and model", fontsize=11, x=0.01, ha="left")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=130)


def _reasons(rows: Sequence[LedgerRow]) -> list[str]:
    return list(dict.fromkeys(row.reason for row in rows))
