"""The time line of a clip in a picture: what is marked, and under it one curve for each thing that is looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from driveforge.datasets.geometry import Array
from driveforge.pipelines.plots.annotations import Kind, Mark, Shown
from driveforge.pipelines.plots.frame_panel import SEEN, STRAY_COLOURS, STRAY_SCALE
from driveforge.validation.review.drawing import short_id
from driveforge.validation.review.timeline import Timeline

INK, FAINT, WORST = "#222222", "#9aa4ad", "#5b6b7a"
COLOURS: dict[Kind, str] = {"broke": "#d3202f", "stands out": "#c77700", "ordinary": "#2e8b57", "other": INK}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One curve: its ``title``, what its axis shows, how it is drawn, and the measures whose worst frames it shows."""

    title: str
    explained: str
    unit: str
    draw: Callable[[Axes, Timeline, Sequence[Mark]], None]
    measures: tuple[str, ...]


def rows_of(times: Timeline) -> list[Row]:
    """The curves that this clip has something for."""
    rows = []
    if np.isfinite(times.residual).any():
        rows.append(_RESIDUAL)
    rows += [_CHANGE, _LOST]
    if np.isfinite(times.yaw_commanded).any():
        rows.append(_YAW)
    if times.unsupported:
        rows.append(_OBJECTS)
    return rows


def draw_marks(axes: Axes, marks: Sequence[Mark], num_frames: int) -> None:
    """A bar for every marked stretch under its words."""
    axes.set(xlim=(-0.5, num_frames - 0.5), ylim=(max(len(marks), 1), 0), xticks=[], yticks=[])
    for lane, mark in enumerate(marks):
        colour = COLOURS[mark.kind]
        for first, last in mark.spans:
            axes.barh(lane + 0.78, last - first + 1, left=first - 0.5, height=0.3, color=colour)
        begin = mark.spans[0][0] - 0.5
        is_late = begin > 0.55 * num_frames
        at = min(mark.spans[-1][1] + 0.5, num_frames - 0.5) if is_late else begin
        words = f"{mark.words} ({_frames(mark.spans)})"
        axes.text(at, lane + 0.56, words, ha="right" if is_late else "left", va="bottom", fontsize=9.5, color=colour)
    if not marks:
        axes.text(-0.5, 0.5, "nothing", va="center", fontsize=9.5, color=FAINT)
    axes.spines[:].set_visible(False)


def draw_row(axes: Axes, row: Row, times: Timeline, marks: Sequence[Mark], worst: Sequence[tuple[int, ...]]) -> None:
    """One curve; marked stretches are tinted, the ``worst`` frames of the row's measures have a line at the foot."""
    axes.set_xlim(-0.5, times.num_frames - 0.5)
    row.draw(axes, times, marks)
    for mark in marks:
        if sum(last - first + 1 for first, last in mark.spans) < 0.8 * times.num_frames:
            for first, last in mark.spans:
                axes.axvspan(first - 0.5, last + 0.5, color=COLOURS[mark.kind], alpha=0.1, lw=0, zorder=0)
    for frames in worst:
        if frames:
            span = [min(frames) - 0.3, max(frames) + 0.3]
            foot = axes.get_xaxis_transform()
            axes.plot(span, [0.02, 0.02], color=WORST, lw=3.5, transform=foot, solid_capstyle="butt")
    axes.tick_params(labelsize=8, length=2, colors="#666666")
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} {row.unit}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")


def draw_frame_numbers(axes: Axes, shown: Sequence[Shown], num_frames: int) -> None:
    """The scale below the last curve, and the letters of the frames that are shown large."""
    step = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if num_frames / n <= 26)
    ticks = range(0, num_frames, step)
    axes.set_xticks(ticks, [f"{t}" if t else "frame 0" for t in ticks])
    axes.tick_params(axis="x", labelsize=8.5, length=3)
    for letter, chosen in zip("ABCDEFGH", shown, strict=False):
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
            bbox={"boxstyle": "round,pad=0.22", "facecolor": COLOURS[chosen.kind], "edgecolor": "none"},
        )


def _draw_residual(axes: Axes, times: Timeline, marks: Sequence[Mark]) -> None:
    low, median, high = times.residual.T
    frames = np.arange(times.num_frames)
    axes.fill_between(frames, low, high, color="#9ec3ea", alpha=0.6, lw=0, step="mid")
    axes.step(frames, median, where="mid", color="#33475b", lw=1.1)
    axes.scatter(frames, median, c=median, cmap=STRAY_COLOURS, norm=STRAY_SCALE, s=22, zorder=3)
    top = float(np.nanmax(np.r_[median, 2.0])) * 1.3
    axes.set_ylim(0, top)


def _draw_change(axes: Axes, times: Timeline, marks: Sequence[Mark]) -> None:
    axes.axhline(1.0, color=FAINT, lw=0.8, ls=":")
    top = max(2.2, float(np.nanmax(np.r_[times.change, 0.0])) * 1.15)
    _bars(axes, times.change, times.num_frames)
    axes.set_ylim(0, top)


def _draw_lost(axes: Axes, times: Timeline, marks: Sequence[Mark]) -> None:
    _bars(axes, 100 * times.lost, times.num_frames)
    axes.set_ylim(0, 100)


def _draw_yaw(axes: Axes, times: Timeline, marks: Sequence[Mark]) -> None:
    frames = np.arange(times.num_frames)
    axes.plot(frames, times.yaw_commanded, color=INK, lw=2.0)
    axes.plot(frames, times.yaw_seen, color=SEEN, lw=1.4, marker=".", ms=5)
    both = np.r_[times.yaw_commanded, times.yaw_seen]
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    room = max(high - low, 4.0)
    middle = (low + high) / 2
    axes.set_ylim(middle - 0.7 * room, middle + 0.7 * room)


def _draw_objects(axes: Axes, times: Timeline, marks: Sequence[Mark]) -> None:
    blamed, blame = {mark.track for mark in marks if mark.track}, COLOURS["broke"]
    frames = np.arange(times.num_frames)
    for track, share in times.unsupported.items():
        bad = track in blamed
        axes.plot(frames, 100 * share, color=blame if bad else FAINT, lw=2.0 if bad else 1.0, zorder=3 if bad else 2)
        if blamed == {track}:
            axes.text(int(np.nanargmax(share)), 103, short_id(track), color=blame, fontsize=8, va="bottom", ha="center")
    axes.set_ylim(0, 100)


def _bars(axes: Axes, values: Array, num_frames: int) -> None:
    axes.bar(np.arange(num_frames), np.nan_to_num(values), width=0.8, color="#6c8ebf")


def _frames(spans: Sequence[tuple[int, int]]) -> str:
    told = [f"{first}" if first == last else f"{first}\N{EN DASH}{last}" for first, last in spans[:3]]
    more = ", …" if len(spans) > 3 else ""
    return f"frame{'s' if len(spans) > 1 or spans[0][0] != spans[0][1] else ''} {', '.join(told)}{more}"


_RESIDUAL = Row(
    title="Background off the command",
    explained="median and middle half of its points, over 4 frames",
    unit="px",
    draw=_draw_residual,
    measures=("track_epipolar_worst", "track_stationary"),
)
_CHANGE = Row(
    title="Change from the frame before",
    explained="usual is 1; none: a repeated frame; a peak: a cut",
    unit="x",
    draw=_draw_change,
    measures=("time_duplicate", "time_cut"),
)
_LOST = Row(
    title="Points lost",
    explained="that could not be followed to this frame",
    unit="%",
    draw=_draw_lost,
    measures=("time_track_loss",),
)
_YAW = Row(
    title="Turn rate, left is up",
    explained="black: commanded; pink: what the pixels show",
    unit="°/s",
    draw=_draw_yaw,
    measures=("pose_yaw",),
)
_OBJECTS = Row(
    title="Points that leave their box",
    explained="a line an object; red: an object that is marked",
    unit="%",
    draw=_draw_objects,
    measures=("object_unsupported", "person_unsupported"),
)
