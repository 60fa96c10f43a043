"""The objects of an evaluation clip that are searched for in a generated continuation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Track
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import View

# An object is moving if its box is faster than this at any time of the clip.
STATIC_SPEED_M_S = 0.2
MIN_FRAMES = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Target:
    """An object that is visible in the last context frame, ``start``.

    ``center`` ``(T, 2)`` px is the center of ``rectangle`` ``(T, 4)``, x0, y0, x1, y1 px around the visible part of its
    box; ``size`` ``(T,)`` px is the square root of its area, ``distance`` ``(T,)`` m. ``judged`` ``(T,)`` are the
    frames after ``start`` in which it is visible enough to be searched for. ``is_moving``: in the world.
    """

    id: str
    is_moving: bool
    start: int
    center: Array
    rectangle: Array
    size: Array
    distance: Array
    judged: NDArray[np.bool_]


def find_targets(view: View, start: int) -> tuple[Target, ...]:
    """Objects that are well visible in frame ``start`` and ``MIN_FRAMES`` later ones; none without pose or tracks."""
    boxes = project_boxes(view)
    if boxes is None:
        return ()
    later = np.arange(view.num_frames) > start
    judged = boxes.judged & later[:, None]
    chosen = np.flatnonzero(boxes.judged[start] & (judged.sum(0) >= MIN_FRAMES))
    return tuple(_target(view, boxes, int(n), start, judged[:, n]) for n in chosen)


def compute_speeds(track: Track, timestamps: Array) -> Array:
    """Speed ``(T,)`` m/s of a track's box in the world frame, 0 in frames in which it is not present."""
    position = track.box_to_world[:, :3, 3]
    velocity = np.gradient(position, timestamps, axis=0) if len(timestamps) > 1 else np.zeros_like(position)
    return np.where(track.present, np.linalg.norm(velocity, axis=1), 0.0)


def _target(view: View, boxes: Boxes, n: int, start: int, judged: NDArray[np.bool_]) -> Target:
    rectangle = boxes.rectangle[:, n]
    return Target(
        id=view.tracks[n].id,
        is_moving=bool((compute_speeds(view.tracks[n], view.timestamps) > STATIC_SPEED_M_S).any()),
        start=start,
        center=rectangle.reshape(-1, 2, 2).mean(1),
        rectangle=rectangle,
        size=boxes.size[:, n],
        distance=boxes.distance[:, n],
        judged=judged,
    )
