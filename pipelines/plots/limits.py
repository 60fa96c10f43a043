"""A calibration as a picture: for every measure how far a clip may go beyond what good clips show."""

from pathlib import Path

from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import FAMILIES, get_definition
from driveforge.validation.guarantee import describe_false_reject_rate, typical_limits

_COLORS = dict(zip(FAMILIES, ("#2f6fb0", "#7a4fa3", "#c2571a", "#2f8f5b", "#8a6d00", "#b0306a"), strict=False))


def plot_limits(path: Path, calibration: Calibration) -> None:
    """Write a PNG: a bar a measure, from the 80 % point of good clips to the limit, on one logarithmic axis.

    Values are those of usual circumstances. The lower part shows how the score's threshold differs by bucket.
    """
    rows = [
        (e.measure, tail_start, limit) for e, tail_start, limit in typical_limits(calibration) if "/" not in e.measure
    ]
    figure = Figure(figsize=(10, 2.2 + 0.28 * (len(rows) + len(calibration.thresholds))), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[len(rows) + 1, len(calibration.thresholds) + 1.5])
    for place, (measure, *ends) in enumerate(rows):
        tail_start, limit = (max(value, 1e-3) for value in ends)
        definition = get_definition(measure)
        upper.plot([tail_start, limit], [place, place], lw=7, solid_capstyle="butt", color=_COLORS[definition.family])
        upper.text(limit * 1.06, place, f"{limit:.3g} {definition.unit}", va="center", fontsize=8)
    upper.set(xscale="log", yticks=range(len(rows)), xlabel="from the 80 % point of good clips to the limit")
    upper.set_yticklabels([measure.replace("_", " ") for measure, *_ in rows], fontsize=8)
    upper.set_title(
        f"{calibration.name}\nrejects of good clips: {describe_false_reject_rate(calibration)}", fontsize=10, loc="left"
    )
    for place, threshold in enumerate(calibration.thresholds):
        lower.barh(place, threshold.score, color="#999999", height=0.6)
        lower.text(threshold.score, place, f" {threshold.num_clips} clips", va="center", fontsize=8)
    lower.set(
        yticks=range(len(calibration.thresholds)),
        xlabel="threshold on the score of a clip, mean excesses of good clips' totals",
    )
    lower.set_yticklabels([threshold.bucket for threshold in calibration.thresholds], fontsize=8)
    for axes in (upper, lower):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.18)
    if calibration.note:
        figure.suptitle(calibration.note, color="#b00020", fontsize=11, weight="bold")
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)
