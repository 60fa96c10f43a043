"""The timeline of a clip in a picture: annotated intervals, and one curve per quantity below them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from driveforge.datasets.geometry import Array
from driveforge.pipelines.plots.annotations import Annotation, DisplayedFrame, DisplayKind
from driveforge.pipelines.plots.frame_panel import OBSERVED, RESIDUAL_COLORS, RESIDUAL_SCALE
from driveforge.validation.review.drawing import short_id
from driveforge.validation.review.timeline import Timeline

TEXT_COLOR, FAINT_COLOR, WORST_COLOR = "#222222", "#9aa4ad", "#5b6b7a"
COLORS: dict[DisplayKind, str] = {
    "violation": "#d3202f",
    "outlier": "#c77700",
    "reference": "#2e8b57",
    "other": TEXT_COLOR,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineRow:
    """One curve: its texts, the function that plots it, and the measures whose worst frames it marks."""

    title: str
    explanation: str
    unit: str
    plot: Callable[[Axes, Timeline, Sequence[Annotation]], None]
    measures: tuple[str, ...]


def select_rows(timeline: Timeline) -> list[TimelineRow]:
    """The curves for which this clip has data."""
    rows = []
    if np.isfinite(timeline.residual).any():
        rows.append(_RESIDUAL)
    rows += [_CHANGE, _LOST]
    if np.isfinite(timeline.yaw_commanded).any():
        rows.append(_YAW)
    if timeline.unsupported:
        rows.append(_OBJECTS)
    return rows


def plot_annotations(axes: Axes, annotations: Sequence[Annotation], num_frames: int) -> None:
    """A bar for every annotated interval, below its text."""
    axes.set(xlim=(-0.5, num_frames - 0.5), ylim=(max(len(annotations), 1), 0), xticks=[], yticks=[])
    for lane, annotation in enumerate(annotations):
        color = COLORS[annotation.kind]
        for first, last in annotation.spans:
            axes.barh(lane + 0.78, last - first + 1, left=first - 0.5, height=0.3, color=color)
        start = annotation.spans[0][0] - 0.5
        is_late = start > 0.55 * num_frames  # then the text is right-aligned to stay in the picture
        at = min(annotation.spans[-1][1] + 0.5, num_frames - 0.5) if is_late else start
        text = f"{annotation.description} ({_format_frames(annotation.spans)})"
        axes.text(at, lane + 0.56, text, ha="right" if is_late else "left", va="bottom", fontsize=9.5, color=color)
    if not annotations:
        axes.text(-0.5, 0.5, "none", va="center", fontsize=9.5, color=FAINT_COLOR)
    axes.spines[:].set_visible(False)


def plot_row(
    axes: Axes,
    row: TimelineRow,
    timeline: Timeline,
    annotations: Sequence[Annotation],
    worst: Sequence[tuple[int, ...]],
) -> None:
    """One curve with tinted annotations; the ``worst`` frames of the row's measures are marked at the bottom."""
    axes.set_xlim(-0.5, timeline.num_frames - 0.5)
    row.plot(axes, timeline, annotations)
    for annotation in annotations:
        if sum(last - first + 1 for first, last in annotation.spans) < 0.8 * timeline.num_frames:
            for first, last in annotation.spans:
                axes.axvspan(first - 0.5, last + 0.5, color=COLORS[annotation.kind], alpha=0.1, lw=0, zorder=0)
    for frames in worst:
        if frames:
            span = [min(frames) - 0.3, max(frames) + 0.3]
            foot = axes.get_xaxis_transform()
            axes.plot(span, [0.02, 0.02], color=WORST_COLOR, lw=3.5, transform=foot, solid_capstyle="butt")
    axes.tick_params(labelsize=8, length=2, colors="#666666")
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} {row.unit}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")


def plot_frame_numbers(axes: Axes, displayed: Sequence[DisplayedFrame], num_frames: int) -> None:
    """The frame numbers below the last curve, and the letters of the displayed frames."""
    step = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if num_frames / n <= 26)
    ticks = range(0, num_frames, step)
    axes.set_xticks(ticks, [f"{t}" if t else "frame 0" for t in ticks])
    axes.tick_params(axis="x", labelsize=8.5, length=3)
    for letter, chosen in zip("ABCDEFGH", displayed, strict=False):
        axes.annotate(
            letter,
            (chosen.frame, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -29),
            textcoords="offset points",
            ha="center",
            fontsize=9.5,
            weight="bold",
            color="white",
            bbox={"boxstyle": "round,pad=0.22", "facecolor": COLORS[chosen.kind], "edgecolor": "none"},
        )


def _plot_residual(axes: Axes, timeline: Timeline, annotations: Sequence[Annotation]) -> None:
    low, median, high = timeline.residual.T
    frames = np.arange(timeline.num_frames)
    axes.fill_between(frames, low, high, color="#9ec3ea", alpha=0.6, lw=0, step="mid")
    axes.step(frames, median, where="mid", color="#33475b", lw=1.1)
    axes.scatter(frames, median, c=median, cmap=RESIDUAL_COLORS, norm=RESIDUAL_SCALE, s=22, zorder=3)
    top = float(np.nanmax(np.r_[median, 2.0])) * 1.3
    axes.set_ylim(0, top)


def _plot_change(axes: Axes, timeline: Timeline, annotations: Sequence[Annotation]) -> None:
    axes.axhline(1.0, color=FAINT_COLOR, lw=0.8, ls=":")
    top = max(2.2, float(np.nanmax(np.r_[timeline.change, 0.0])) * 1.15)
    _plot_bars(axes, timeline.change, timeline.num_frames)
    axes.set_ylim(0, top)


def _plot_lost(axes: Axes, timeline: Timeline, annotations: Sequence[Annotation]) -> None:
    _plot_bars(axes, 100 * timeline.lost, timeline.num_frames)
    axes.set_ylim(0, 100)


def _plot_yaw(axes: Axes, timeline: Timeline, annotations: Sequence[Annotation]) -> None:
    frames = np.arange(timeline.num_frames)
    axes.plot(frames, timeline.yaw_commanded, color=TEXT_COLOR, lw=2.0)
    axes.plot(frames, timeline.yaw_observed, color=OBSERVED, lw=1.4, marker=".", ms=5)
    both = np.r_[timeline.yaw_commanded, timeline.yaw_observed]
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    span = max(high - low, 4.0)
    middle = (low + high) / 2
    axes.set_ylim(middle - 0.7 * span, middle + 0.7 * span)


def _plot_objects(axes: Axes, timeline: Timeline, annotations: Sequence[Annotation]) -> None:
    highlighted = {annotation.track for annotation in annotations if annotation.track}
    highlight_color = COLORS["violation"]
    frames = np.arange(timeline.num_frames)
    for track, share in timeline.unsupported.items():
        is_highlighted = track in highlighted
        axes.plot(
            frames,
            100 * share,
            color=highlight_color if is_highlighted else FAINT_COLOR,
            lw=2.0 if is_highlighted else 1.0,
            zorder=3 if is_highlighted else 2,
        )
        if highlighted == {track}:
            axes.text(
                int(np.nanargmax(share)),
                103,
                short_id(track),
                color=highlight_color,
                fontsize=8,
                va="bottom",
                ha="center",
            )
    axes.set_ylim(0, 100)


def _plot_bars(axes: Axes, values: Array, num_frames: int) -> None:
    axes.bar(np.arange(num_frames), np.nan_to_num(values), width=0.8, color="#6c8ebf")


def _format_frames(spans: Sequence[tuple[int, int]]) -> str:
    ranges = [f"{first}" if first == last else f"{first}\N{EN DASH}{last}" for first, last in spans[:3]]
    more = ", …" if len(spans) > 3 else ""
    is_single = len(spans) == 1 and spans[0][0] == spans[0][1]
    return f"{'frame' if is_single else 'frames'} {', '.join(ranges)}{more}"


_RESIDUAL = TimelineRow(
    title="Background residual to the command",
    explanation="median and quartiles of its points, over 4 frames",
    unit="px",
    plot=_plot_residual,
    measures=("track_epipolar_worst", "track_stationary"),
)
_CHANGE = TimelineRow(
    title="Change from the previous frame",
    explanation="1 is usual; 0: a repeated frame; a peak: a cut",
    unit="x",
    plot=_plot_change,
    measures=("time_duplicate", "time_cut"),
)
_LOST = TimelineRow(
    title="Points lost",
    explanation="points that could not be tracked to this frame",
    unit="%",
    plot=_plot_lost,
    measures=("time_track_loss",),
)
_YAW = TimelineRow(
    title="Yaw rate, left is positive",
    explanation="black: commanded; pink: observed in the pixels",
    unit="°/s",
    plot=_plot_yaw,
    measures=("pose_yaw",),
)
_OBJECTS = TimelineRow(
    title="Points that leave their box",
    explanation="one line per object; red: an annotated object",
    unit="%",
    plot=_plot_objects,
    measures=("object_unsupported", "person_unsupported"),
)
