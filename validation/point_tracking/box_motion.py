"""Points of an image lifted onto a commanded box, and where they go when they move with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array, inverse, project, transform
from driveforge.validation.point_tracking.protocol import Mask, Points
from driveforge.validation.views.view import CommandedCamera, View


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxMotion:
    """Image points ``(L, N, 2)`` px that move with a box; they mean nothing but for those that ``hit`` ``(N,)`` it."""

    points: Array
    hit: Mask


def predict_box_motion(
    view: View, command: CommandedCamera, start: int, length: int, points: Points, box_index: int
) -> BoxMotion:
    """Where the box of a track takes ``points`` ``(N, 2)`` px, from frame ``start`` on in which they are there."""
    track, frames = view.tracks[box_index], slice(start, start + length)
    world_to_box = inverse(track.box_to_world[start])
    camera_to_box = world_to_box @ command.camera_to_world[start]
    directions = command.directions(points)
    on_box, hit = ray_box(camera_to_box[:3, 3], directions @ camera_to_box[:3, :3].T, track.size)
    box_to_camera = inverse(command.camera_to_world[frames]) @ track.box_to_world[frames]
    predicted, _ = project(transform(box_to_camera, on_box[None]), command.intrinsics)
    return BoxMotion(points=predicted, hit=hit)


def concatenate_box_motions(parts: Sequence[BoxMotion]) -> BoxMotion:
    """All points of ``parts``, in their order."""
    return BoxMotion(
        points=np.concatenate([part.points for part in parts], 1), hit=np.concatenate([part.hit for part in parts])
    )


def ray_box(origin: Array, directions: Array, size: Array) -> tuple[Array, Mask]:
    """Where rays from ``origin`` ``(3,)`` along ``directions`` ``(N, 3)`` enter a box of ``size`` centerd at zero.

    Points ``(N, 3)`` m and whether ``(N,)`` there is one (Kay and Kajiya 1986, the slab method).
    """
    safe = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    one, other = (-size / 2 - origin) / safe, (size / 2 - origin) / safe
    enter, leave = np.minimum(one, other).max(1), np.maximum(one, other).min(1)
    return np.asarray(origin + enter[:, None] * directions), np.asarray((enter < leave) & (enter > 0))
