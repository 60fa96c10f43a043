"""The picture of a plan: the traits of its scenes, its edits, and one edited scene per edit from above."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from driveforge.datasets.edits.collisions import EGO_CENTER_M, EGO_SIZE_M
from driveforge.datasets.files.atomic import atomic_file
from driveforge.datasets.geometry import Array, inverse, pose
from driveforge.datasets.scene import Scene
from driveforge.pipelines.generate.plan.summary import PlanSummary
from driveforge.pipelines.generate.plan.traits import UNITS

_INK, _FAINT, _LANE, _BOX = "#222222", "#9aa4ad", "#d5dade", "#7b8794"
_EDITED, _NEW, _GONE = "#2f6fb0", "#c77700", "#c21d2c"
MAX_EDITS, _COLUMNS = 12, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A scene before and after an edit."""

    edit: str
    recorded: Scene
    edited: Scene


def plot_plan(path: Path, summary: PlanSummary, examples: Sequence[Example], splits: Mapping[str, str]) -> None:
    """Write a PNG; ``splits`` names the splits whose clips are drawn apart, by the label of each."""
    rows = max(1, -(-len(examples) // _COLUMNS))
    figure = Figure(figsize=(15, max(6.2, 1.4 + 3.3 * rows)), layout="constrained", facecolor="white")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 2.1], wspace=0.02)[0]
    edits, *traits = left.subplots(1 + len(summary.traits), 1, height_ratios=[1.2 + 0.12 * len(summary.edits), 1, 1, 1])
    _plot_edits(edits, summary, splits)
    for axes, (trait, counts) in zip(traits, summary.traits.items(), strict=True):
        _plot_trait(axes, trait, counts)
    _plot_examples(right, examples, rows)
    title = f"{summary.num_clips} clips in {summary.num_units} units, from {summary.num_scenes} scenes"
    figure.suptitle(f"Plan {summary.plan[:12]}: {title}", color=_INK, weight="bold", fontsize=13, x=0.01, ha="left")
    with atomic_file(path) as file:
        figure.savefig(file, dpi=100)


def _plot_edits(axes: Axes, summary: PlanSummary, splits: Mapping[str, str]) -> None:
    """Clips by edit; those of evaluation splits in another color."""
    names = list(summary.edits)[: 2 * MAX_EDITS]
    places, left = np.arange(len(names)), np.zeros(len(names))
    colors = (_EDITED, _GONE, _NEW)
    for color, label in zip(colors, dict.fromkeys(splits.values()), strict=False):
        counts = np.array(
            [sum(n for split, n in summary.edits[name].items() if splits[split] == label) for name in names]
        )
        axes.barh(places, counts, left=left, color=color, label=label, height=0.72)
        left += counts
    axes.set_yticks(places, [_shorten(name) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_title("clips by edit", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="lower right", handlelength=1)
    axes.margins(x=0.35)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    _clean(axes, "x")


def _plot_trait(axes: Axes, trait: str, counts: Mapping[str, tuple[int, int]]) -> None:
    """Clips in each bin, as shares, beside the scenes that they are made from."""
    clips, scenes = np.array(list(counts.values()), float).reshape(-1, 2).T
    places = np.arange(len(counts))
    for offset, values, color, label in ((-0.2, clips, _EDITED, "clips"), (0.2, scenes, _LANE, "scenes used")):
        axes.bar(places + offset, 100 * values / max(values.sum(), 1), 0.38, color=color, label=label)
    short = [label.replace("below ", "< ").replace(" or more", " +").replace(" to ", "\nto ") for label in counts]
    axes.set_xticks(places, short, fontsize=8)
    axes.set_title(f"{trait} of recorded scenes, {UNITS[trait]}", fontsize=9, loc="left")
    axes.set_ylabel("%", fontsize=8)
    axes.legend(fontsize=8, frameon=False, handlelength=1)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    _clean(axes, "y")


def _plot_examples(figure: SubFigure, examples: Sequence[Example], rows: int) -> None:
    panels = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for axes, example in zip(panels.flat, examples, strict=False):
        plot_example(axes, example)
    lines = [
        Line2D([], [], color=_FAINT, lw=2, ls=(0, (2, 1.5)), label="ego path as recorded"),
        Line2D([], [], color=_EDITED, lw=2, label="ego path of the clip"),
        Line2D([], [], color=_BOX, lw=1.2, label="agent"),
        Line2D([], [], color=_NEW, lw=1.6, label="agent that the edit adds or moves"),
        Line2D([], [], color=_GONE, lw=1.2, ls=":", label="agent that it removes"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False)


def plot_example(axes: Axes, example: Example) -> None:
    """The scene from above, in the first ego frame with forward up: paths, and boxes in the last frame."""
    recorded, edited = example.recorded, example.edited
    axes.set_title(_shorten(example.edit), fontsize=9, loc="left", color=_INK)
    if recorded.ego_to_world is None or edited.ego_to_world is None:
        axes.text(0.5, 0.5, "no ego pose", transform=axes.transAxes, ha="center", color=_FAINT)
        return
    to_start = inverse(recorded.ego_to_world[0])
    for lane in edited.lanes:
        _line(axes, lane.points @ to_start[:3, :3].T + to_start[:3, 3], color=_LANE, lw=0.8)
    before, after = ({track.id: track for track in scene.tracks} for scene in (recorded, edited))
    for name in before.keys() - after.keys():
        track = before[name]
        _box(axes, to_start @ track.box_to_world[track.present][-1], track.size, color=_GONE, ls=":", lw=1.2)
    for name, track in after.items():
        poses = to_start @ track.box_to_world[track.present]
        old = before.get(name)
        is_changed = old is None or not np.array_equal(old.box_to_world, track.box_to_world)
        color, width = (_NEW, 1.6) if is_changed else (_BOX, 0.9)
        _line(axes, poses[:, :3, 3], color=color, lw=0.8 * width, alpha=0.7)
        _box(axes, poses[-1], track.size, color=color, lw=width)
    _line(axes, (to_start @ recorded.ego_to_world)[:, :3, 3], color=_FAINT, lw=2, ls=(0, (2, 1.5)), zorder=3)
    driven = to_start @ edited.ego_to_world
    _line(axes, driven[:, :3, 3], color=_EDITED, lw=2, zorder=4)
    _box(axes, driven[-1] @ pose(np.eye(3), [EGO_CENTER_M, 0, 0]), np.array(EGO_SIZE_M), color=_EDITED, lw=1.6)
    _note(axes, example)
    axes.set(xlim=(-16, 16), ylim=(-8, 46), aspect="equal")
    axes.plot([-15, -5], [-6.5, -6.5], color=_INK, lw=1.2)
    axes.text(-10, -5.8, "10 m", fontsize=7, ha="center", color=_INK)


def _note(axes: Axes, example: Example) -> None:
    """What cannot be seen from above: another domain, or other cameras."""
    notes = []
    if example.edited.domain != example.recorded.domain:
        notes.append(f"{example.recorded.domain}\nto {example.edited.domain}")
    old, new = (scene.cameras[0].camera_to_ego for scene in (example.recorded, example.edited))
    if old is not None and new is not None and not np.array_equal(old, new) and old.shape == new.shape:
        notes.append("all cameras moved")
    axes.text(0.02, 0.97, "\n".join(notes), transform=axes.transAxes, va="top", fontsize=8, color=_NEW)


def _line(axes: Axes, points: Array, **style: object) -> None:
    axes.plot(-points[:, 1], points[:, 0], solid_capstyle="round", clip_on=True, **style)  # type: ignore[arg-type]


def _box(axes: Axes, box_to_start: Array, size: Array, **style: object) -> None:
    corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1], [1, 1]]) * np.asarray(size)[:2] / 2
    padded = np.column_stack([corners, np.zeros(5), np.ones(5)])
    _line(axes, (padded @ box_to_start.T)[:, :3], **style)


def _shorten(text: str) -> str:
    """``insert-agent(category=car, ahead=20)`` without the names of the parameters."""
    kind, bracket, rest = text.partition("(")
    values = [part.partition("=")[2].rstrip(")") for part in rest.split(", ")] if bracket else []
    return f"{kind} {', '.join(values)}".strip()


def _clean(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#eeeeee")  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=2)
