"""One frame of a clip in a picture: tracks colored by their residual, boxes, and the heading of the camera."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from numpy.typing import NDArray

from driveforge.datasets.geometry import BOX_FACES, Array
from driveforge.validation.camera.pose_refinement import RefinedMotion
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.review.drawing import BAD_PX, short_id
from driveforge.validation.review.headings import commanded_heading, project_direction
from driveforge.validation.review.timeline import Trails, object_trails_at, trails_at
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import CommandedCamera, View

RESIDUAL_COLORS = LinearSegmentedColormap.from_list(
    "stray", ["#19d84b", "#f2e14c", "#ff9a1f", "#ff1f2e"]
).with_extremes(bad="#d0d0d0")
RESIDUAL_SCALE = Normalize(0.0, BAD_PX, clip=True)
BOX, HIGHLIGHTED, LOST = "#2f8fe8", "#ff1f2e", "#ff1f2e"
COMMANDED, OBSERVED = "#ffffff", "#ff4fd8"
HEADING_MARGIN = 0.15  # of the image's width: a heading this far outside is drawn at the edge
MIN_HEADING_DIFFERENCE = 0.02  # of the image's width
CLOSE_UP_FACTOR = 1.9  # times the box
MAX_CLOSE_UP_SHARE = 0.4  # of the image: a larger box needs no close-up
INSET_SHARE = 0.42  # of the panel's width and height
BRIGHTNESS = 0.8  # the frame's brightness, so that the tracks are clearly visible
_EDGES = sorted({tuple(sorted(edge)) for face in BOX_FACES for edge in pairwise((*face, face[0]))})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlottedFrame:
    """One frame with its ``pixels`` ``(H, W, 3)`` and overlays. Boxes of ``highlighted`` tracks are red."""

    frame: int
    pixels: NDArray[np.uint8]
    view: View
    boxes: Boxes | None
    tracks: Tracks
    refined: RefinedMotion | None
    highlighted: frozenset[str]


def plot_frame(axes: Axes, plotted: PlottedFrame, track: str = "") -> None:
    """Draw a frame, with a close-up of the box of ``track`` if it is in view."""
    height, width = plotted.pixels.shape[:2]
    _plot(axes, plotted)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    region = _close_up_region(plotted, track)
    if region is None:
        return
    x0, y0, x1, y1 = region
    left = 0.99 - INSET_SHARE if (x0 + x1) / 2 < width / 2 else 0.01
    inset = axes.inset_axes((left, 0.985 - INSET_SHARE, INSET_SHARE, INSET_SHARE), zorder=6)
    _plot(inset, plotted)
    inset.set(xlim=(x0, x1), ylim=(y1, y0))
    inset.spines[:].set(color="white", linewidth=2)
    axes.indicate_inset((x0, y0, x1 - x0, y1 - y0), edgecolor="white", linewidth=1.2, alpha=0.9)


def _plot(axes: Axes, plotted: PlottedFrame) -> None:
    view, frame = plotted.view, plotted.frame
    axes.imshow(np.round(plotted.pixels * BRIGHTNESS).astype(np.uint8), interpolation="bicubic")
    if plotted.boxes is not None:
        _plot_boxes(axes, view, plotted.boxes, frame, plotted.highlighted)
    _plot_trails(axes, trails_at(plotted.tracks, view.command, frame), "o")
    if view.command is not None:
        _plot_trails(axes, object_trails_at(view, plotted.tracks, frame), "s")
        _plot_headings(axes, view.command, plotted.refined, frame)
    axes.set(xticks=[], yticks=[])


def _close_up_region(plotted: PlottedFrame, track: str) -> tuple[float, float, float, float] | None:
    """The region x0, y0, x1, y1 px around the box of a track, with the aspect ratio of the image."""
    ids = [one.id for one in plotted.view.tracks]
    if plotted.boxes is None or track not in ids:
        return None
    hull = plotted.boxes.hulls[plotted.frame][ids.index(track)]
    if hull is None:
        return None
    height, width = plotted.pixels.shape[:2]
    size = np.array([width, height])
    low, high = np.clip([hull[:, 0].min(0), hull[:, 0].max(0)], 0, size - 1)
    share = max((high - low) / size) * CLOSE_UP_FACTOR  # of the image
    if share > MAX_CLOSE_UP_SHARE:
        return None
    x, y = np.clip((low + high - share * size) / 2, 0, (1 - share) * size)
    return x, y, x + share * width, y + share * height


def _plot_trails(axes: Axes, trails: Trails, marker: str) -> None:
    """Draw trails with the largest residuals on top."""
    order = np.argsort(np.nan_to_num(trails.residual))
    tails, colors = trails.points.transpose(1, 0, 2)[order], RESIDUAL_COLORS(RESIDUAL_SCALE(trails.residual[order]))
    axes.add_collection(LineCollection(list(tails), colors=colors, linewidths=1.1))
    axes.scatter(tails[:, -1, 0], tails[:, -1, 1], s=11, marker=marker, linewidths=0, c=colors)
    axes.scatter(trails.lost[:, 0], trails.lost[:, 1], s=16, marker="x", linewidths=0.9, color=LOST, alpha=0.85)


def _plot_boxes(axes: Axes, view: View, boxes: Boxes, frame: int, highlighted: Collection[str]) -> None:
    """Sufficiently visible boxes with all edges and ids, others as thin outlines; highlighted boxes are drawn last."""
    order = sorted(range(len(view.tracks)), key=lambda i: (view.tracks[i].id in highlighted, -boxes.distance[frame, i]))
    for index in order:
        track, hull = view.tracks[index], boxes.hulls[frame][index]
        if hull is None:
            continue
        is_highlighted, is_judged = track.id in highlighted, bool(boxes.judged[frame, index])
        color = HIGHLIGHTED if is_highlighted else BOX
        outline = hull[:, 0].astype(np.float64)
        lines, width = [np.r_[outline, outline[:1]]], 0.5
        if is_judged:
            lines, width = [boxes.corners[frame, index][list(edge)] for edge in _EDGES], 1.0
        axes.add_collection(LineCollection(lines, colors=color, linewidths=1.8 if is_highlighted else width))
        if is_judged or is_highlighted:
            label = f"{track.category.rpartition('.')[2]} {short_id(track.id)}"
            paper = {"facecolor": color, "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
            x, y = np.clip(outline.min(0) - [0, 1.5], 2, None)
            axes.text(x, y, label, color="white", fontsize=7, va="bottom", bbox=paper, clip_on=True)


def _plot_headings(axes: Axes, command: CommandedCamera, refined: RefinedMotion | None, frame: int) -> None:
    """The commanded and the observed focus of expansion; the observed one only if it is elsewhere."""
    commanded = commanded_heading(command, frame)
    if commanded is not None:
        _plot_heading(axes, command, commanded, "+", COMMANDED)
    if refined is None or refined.direction is None:
        return
    observed = project_direction(command, refined.direction)
    if observed is None:
        return
    min_difference = MIN_HEADING_DIFFERENCE * command.image_size[0]
    if commanded is None or np.linalg.norm(observed - commanded) > min_difference:
        _plot_heading(axes, command, observed, "x", OBSERVED)


def _plot_heading(axes: Axes, command: CommandedCamera, point: Array, marker: str, color: str) -> None:
    size = np.array(command.image_size)
    if ((point < -HEADING_MARGIN * size[0]) | (point > size - 1 + HEADING_MARGIN * size[0])).any():
        return
    x, y = np.clip(point, 0.02 * size, 0.98 * size)
    for width, stroke_color in ((4.5, "black"), (2.2, color)):
        axes.scatter([x], [y], s=190, marker=marker, linewidths=width, color=stroke_color, zorder=5)
