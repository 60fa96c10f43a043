"""One frame of a clip in a picture: its tracks, coloured by how far they stray, its boxes, where it is headed."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from numpy.typing import NDArray

from driveforge.datasets.geometry import BOX_FACES, Array
from driveforge.validation.camera.pairs import MIN_BASELINE_M
from driveforge.validation.camera.pose_refinement import GAP, Refined
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.review.drawing import BAD_PX, short_id
from driveforge.validation.review.timeline import Trails, object_trails_at, trails_at
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import Command, View

STRAY_COLOURS = LinearSegmentedColormap.from_list("stray", ["#19d84b", "#f2e14c", "#ff9a1f", "#ff1f2e"]).with_extremes(
    bad="#d0d0d0"
)
STRAY_SCALE = Normalize(0.0, BAD_PX, clip=True)
BOX, BLAMED, LOST = "#2f8fe8", "#ff1f2e", "#ff1f2e"
COMMANDED, SEEN = "#ffffff", "#ff4fd8"
NEAR_IMAGE = 0.15  # of the image's width: so far beyond the edge a heading is still shown, at the edge
DIFFERS = 0.02  # of the image's width
CLOSE_UP = 1.9  # times the box
LARGEST_PART = 0.4  # of the image: a close-up of a larger box shows no more than the frame
INSET = 0.42  # of the picture's width and height
DIMMED = 0.8  # the frame's brightness, so that the tracks stand out
_EDGES = sorted({tuple(sorted(edge)) for face in BOX_FACES for edge in pairwise((*face, face[0]))})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Still:
    """One frame: its ``pixels`` ``(H, W, 3)``, and all that is known of it. Boxes of ``blamed`` tracks are red."""

    frame: int
    pixels: NDArray[np.uint8]
    view: View
    boxes: Boxes | None
    tracks: Tracks
    refined: Refined | None
    blamed: frozenset[str]


def draw_still(axes: Axes, still: Still, track: str = "") -> None:
    """Draw a frame, with a close-up of the box of ``track`` if that is in view."""
    height, width = still.pixels.shape[:2]
    _draw(axes, still)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    around = _around(still, track)
    if around is None:
        return
    x0, y0, x1, y1 = around
    left = 0.99 - INSET if (x0 + x1) / 2 < width / 2 else 0.01
    inset = axes.inset_axes((left, 0.985 - INSET, INSET, INSET), zorder=6)
    _draw(inset, still)
    inset.set(xlim=(x0, x1), ylim=(y1, y0))
    inset.spines[:].set(color="white", linewidth=2)
    axes.indicate_inset((x0, y0, x1 - x0, y1 - y0), edgecolor="white", linewidth=1.2, alpha=0.9)


def _draw(axes: Axes, still: Still) -> None:
    view, frame = still.view, still.frame
    axes.imshow(np.round(still.pixels * DIMMED).astype(np.uint8), interpolation="bicubic")
    if still.boxes is not None:
        _draw_boxes(axes, view, still.boxes, frame, still.blamed)
    _draw_trails(axes, trails_at(still.tracks, view.command, frame), "o")
    if view.command is not None:
        _draw_trails(axes, object_trails_at(view, still.tracks, frame), "s")
        _draw_headings(axes, view.command, still.refined, frame)
    axes.set(xticks=[], yticks=[])


def _around(still: Still, track: str) -> tuple[float, float, float, float] | None:
    """The part of the image x0, y0, x1, y1 px around the box of a track, of the image's own shape."""
    ids = [one.id for one in still.view.tracks]
    if still.boxes is None or track not in ids:
        return None
    hull = still.boxes.hulls[still.frame][ids.index(track)]
    if hull is None:
        return None
    height, width = still.pixels.shape[:2]
    size = np.array([width, height])
    low, high = np.clip([hull[:, 0].min(0), hull[:, 0].max(0)], 0, size - 1)
    part = max((high - low) / size) * CLOSE_UP  # of the image
    if part > LARGEST_PART:
        return None
    x, y = np.clip((low + high - part * size) / 2, 0, (1 - part) * size)
    return x, y, x + part * width, y + part * height


def _draw_trails(axes: Axes, trails: Trails, marker: str) -> None:
    """The worst on top."""
    order = np.argsort(np.nan_to_num(trails.residual))
    tails, colours = trails.points.transpose(1, 0, 2)[order], STRAY_COLOURS(STRAY_SCALE(trails.residual[order]))
    axes.add_collection(LineCollection(list(tails), colors=colours, linewidths=1.1))
    axes.scatter(tails[:, -1, 0], tails[:, -1, 1], s=11, marker=marker, linewidths=0, c=colours)
    axes.scatter(trails.lost[:, 0], trails.lost[:, 1], s=16, marker="x", linewidths=0.9, color=LOST, alpha=0.85)


def _draw_boxes(axes: Axes, view: View, boxes: Boxes, frame: int, blamed: Collection[str]) -> None:
    """Judged boxes with all their edges and their ids, others as thin outlines; those blamed last, over the others."""
    order = sorted(range(len(view.tracks)), key=lambda i: (view.tracks[i].id in blamed, -boxes.distance[frame, i]))
    for index in order:
        track, hull = view.tracks[index], boxes.hulls[frame][index]
        if hull is None:
            continue
        is_blamed, is_judged = track.id in blamed, bool(boxes.judged[frame, index])
        colour = BLAMED if is_blamed else BOX
        outline = hull[:, 0].astype(np.float64)
        lines = [boxes.corners[frame, index][list(e)] for e in _EDGES] if is_judged else [np.r_[outline, outline[:1]]]
        width = 1.8 if is_blamed else 1.0 if is_judged else 0.5
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=width))
        if is_judged or is_blamed:
            label = f"{track.category.rpartition('.')[2]} {short_id(track.id)}"
            paper = {"facecolor": colour, "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
            x, y = np.clip(outline.min(0) - [0, 1.5], 2, None)
            axes.text(x, y, label, color="white", fontsize=7, va="bottom", bbox=paper, clip_on=True)


def _draw_headings(axes: Axes, command: Command, refined: Refined | None, frame: int) -> None:
    """Where the camera is headed: points of the background flow away from there."""
    commanded = commanded_heading(command, frame)
    seen = _on_image(command, refined.direction) if refined is not None and refined.direction is not None else None
    if commanded is not None:
        _draw_heading(axes, command, commanded, "+", COMMANDED)
    width = command.image_size[0]
    if seen is not None and (commanded is None or np.linalg.norm(seen - commanded) > DIFFERS * width):
        _draw_heading(axes, command, seen, "x", SEEN)


def commanded_heading(command: Command, frame: int) -> Array | None:
    """The epipole ``(2,)`` px of the commanded motion over the last ``GAP`` frames; None while standing."""
    motion = command.motion(max(0, frame - GAP), frame)
    return _on_image(command, motion.translation) if motion.baseline >= MIN_BASELINE_M else None


def _on_image(command: Command, direction: Array) -> Array | None:
    """Where a direction of the camera, or the opposite one, meets the image plane; None where it is parallel to it."""
    point = command.intrinsics @ direction
    return np.asarray(point[:2] / point[2]) if abs(point[2]) > 1e-6 * np.linalg.norm(point) else None


def _draw_heading(axes: Axes, command: Command, point: Array, marker: str, colour: str) -> None:
    size = np.array(command.image_size)
    if ((point < -NEAR_IMAGE * size[0]) | (point > size - 1 + NEAR_IMAGE * size[0])).any():
        return
    x, y = np.clip(point, 0.02 * size, 0.98 * size)
    for width, ink in ((4.5, "black"), (2.2, colour)):
        axes.scatter([x], [y], s=190, marker=marker, linewidths=width, color=ink, zorder=5)
