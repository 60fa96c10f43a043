"""A plot of a calibration: the limit of every measure, and where the tail of good clips starts."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file
from driveforge.validation.calibration import Calibration, DetectionPower
from driveforge.validation.catalog import get_definition
from driveforge.validation.guarantee import describe_false_reject_rate, typical_limits
from driveforge.validation.measure_definition import FAMILIES

_COLORS = ("#2f6fb0", "#7a4fa3", "#c2571a", "#2f8f5b", "#8a6d00", "#b0306a")


def plot_limits(path: Path, calibration: Calibration) -> None:
    """Write a PNG: a bar per measure, from the 80 % quantile of good clips to the limit, on a logarithmic axis.

    Values are for median covariates. The lower parts show the threshold of the score by bucket and, if any were tried,
    the share of corrupted clips that the limits catch.
    """
    rows = [
        (model.measure, tail_start, limit)
        for model, tail_start, limit in typical_limits(calibration)
        if "/" not in model.measure
    ]
    heights = [len(rows) + 1, len(calibration.thresholds) + 1.5]
    heights += [len(calibration.power) + 1.5] if calibration.power else []
    figure = Figure(figsize=(10, 1.5 + 0.28 * sum(heights)), layout="constrained")
    upper, lower, *power_axes = figure.subplots(len(heights), 1, height_ratios=heights)
    for place, (measure, *ends) in enumerate(rows):
        tail_start, limit = (max(value, 1e-3) for value in ends)
        definition = get_definition(measure)
        color = _COLORS[FAMILIES.index(definition.family) % len(_COLORS)]
        upper.plot([tail_start, limit], [place, place], lw=7, solid_capstyle="butt", color=color)
        upper.text(limit * 1.06, place, f"{limit:.3g} {definition.unit.symbol}", va="center", fontsize=8)
    upper.set(xscale="log", yticks=range(len(rows)), xlabel="from the 80 % quantile of good clips to the limit")
    upper.set_yticklabels([measure.replace("_", " ") for measure, *_ in rows], fontsize=8)
    upper.set_title(
        f"{calibration.name}\nfalse rejects: {describe_false_reject_rate(calibration)}", fontsize=10, loc="left"
    )
    for place, threshold in enumerate(calibration.thresholds):
        lower.barh(place, threshold.score, color="#999999", height=0.6)
        lower.text(threshold.score, place, f" {threshold.num_clips} clips", va="center", fontsize=8)
    lower.set(
        yticks=range(len(calibration.thresholds)),
        xlabel="threshold of the nonconformity score of a clip",
    )
    lower.set_yticklabels([threshold.bucket for threshold in calibration.thresholds], fontsize=8)
    for axes in power_axes:
        _plot_power(axes, calibration.power)
    for axes in (upper, lower, *power_axes):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.18)
    if calibration.note:
        figure.suptitle(calibration.note, color="#b00020", fontsize=11, weight="bold")
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)


def _plot_power(axes: Axes, power: Sequence[DetectionPower]) -> None:
    for place, row in enumerate(power):
        axes.barh(place, row.caught / row.tried, color="#2f8f5b", height=0.6)
        axes.text(row.caught / row.tried, place, f" {row.caught} of {row.tried}", va="center", fontsize=8)
    axes.set(
        xlim=(0, 1), yticks=range(len(power)), xlabel="share of strongly corrupted known-good clips that are caught"
    )
    axes.set_yticklabels([row.corruption_type for row in power], fontsize=8)
