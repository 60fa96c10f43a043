"""The picture of the study of scale."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file
from driveforge.pipelines.studies.scale.report import store_share
from driveforge.pipelines.studies.scale.settings import ScaleStudy

if TYPE_CHECKING:
    from driveforge.pipelines.studies.scale.study import Results

_OVERHEADS = {"lost": "#c21d2c", "starting": "#c77700", "waiting": "#7a4fa3", "committing": "#2f6fb0"}
_LABELS = {
    "lost": "lost to failures",
    "starting": "starting",
    "waiting": "waiting for the driver",
    "committing": "committing",
}


def plot_scale(path: Path, results: "Results", settings: ScaleStudy) -> None:
    """Write a PNG: overheads of the GPUs' time, and how busy driver and store are, by the number of GPUs."""
    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    overheads, busy = figure.subplots(1, 2)
    names = [f"{cluster.workers:,}" for cluster, _ in results.clusters]
    places = range(len(names))
    bottoms = [0.0] * len(names)
    for kind, color in _OVERHEADS.items():
        shares = [100 * getattr(o, kind) / (c.workers * o.seconds) for c, o in results.clusters]
        overheads.bar(places, shares, bottom=bottoms, color=color, label=_LABELS[kind], width=0.6)
        bottoms = [bottom + share for bottom, share in zip(bottoms, shares, strict=True)]
    overheads.set(xticks=places, xticklabels=names, xlabel="GPUs", ylabel="% of the GPUs' time")
    overheads.set_title("Time that makes no clips", fontsize=10, loc="left")
    overheads.legend(frameon=False, fontsize=8)
    gpus = [cluster.workers for cluster, _ in results.clusters]
    busy.plot(gpus, [100 * o.driver for _, o in results.clusters], "o-", color="#7a4fa3", label="driver")
    shares = [100 * store_share(o, settings) for _, o in results.clusters]
    busy.plot(gpus, shares, "o-", color="#2f6fb0", label="writes of the store, of its limit")
    busy.axhline(100, color="#999999", lw=1, ls=":")
    busy.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="% busy")
    busy.set_title("What saturates first", fontsize=10, loc="left")
    busy.legend(frameon=False, fontsize=8)
    for axes in (overheads, busy):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
