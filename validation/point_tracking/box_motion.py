"""Image points lifted onto a commanded box, and their motion with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array, inverse, project, transform
from driveforge.validation.point_tracking.protocol import Mask, Points
from driveforge.validation.views.view import CommandedCamera, View


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxMotion:
    """Image points ``(L, N, 2)`` px that move with a box; valid only for points that ``hit`` ``(N,)`` it."""

    points: Array
    hit: Mask


def predict_box_motion(
    view: View, command: CommandedCamera, start: int, length: int, points: Points, box_index: int
) -> BoxMotion:
    """Positions of ``points`` ``(N, 2)`` px of frame ``start`` in the following frames if they move with a box."""
    track, frames = view.tracks[box_index], slice(start, start + length)
    world_to_box = inverse(track.box_to_world[start])
    camera_to_box = world_to_box @ command.camera_to_world[start]
    directions = command.directions(points)
    on_box, hit = ray_box(camera_to_box[:3, 3], directions @ camera_to_box[:3, :3].T, track.size)
    box_to_camera = inverse(command.camera_to_world[frames]) @ track.box_to_world[frames]
    predicted, _ = project(transform(box_to_camera, on_box[None]), command.intrinsics)
    return BoxMotion(points=predicted, hit=hit)


def concatenate_box_motions(parts: Sequence[BoxMotion]) -> BoxMotion:
    """The points of all ``parts``, in their order."""
    return BoxMotion(
        points=np.concatenate([part.points for part in parts], 1), hit=np.concatenate([part.hit for part in parts])
    )


def ray_box(origin: Array, directions: Array, size: Array) -> tuple[Array, Mask]:
    """Where rays from ``origin`` ``(3,)`` along ``directions`` ``(N, 3)`` enter a box of ``size`` centered at zero.

    Points ``(N, 3)`` m, and whether ``(N,)`` the ray hits the box (Kay and Kajiya 1986, the slab method).
    """
    safe = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    # Ray parameters of both planes of each axis: the ray is in the box between the last entry and the first exit.
    one, other = (-size / 2 - origin) / safe, (size / 2 - origin) / safe
    enter, leave = np.minimum(one, other).max(1), np.maximum(one, other).min(1)
    return np.asarray(origin + enter[:, None] * directions), np.asarray((enter < leave) & (enter > 0))
