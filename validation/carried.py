"""Points of an image lifted onto a commanded box, and where they go when they move with it."""

import numpy as np

from datasets.geometry import Array, inverse, project, transform
from validation.trackers.protocol import Mask, Points
from validation.view import Command, View


def carried_by_box(
    view: View, command: Command, start: int, length: int, points: Points, owner: int
) -> tuple[Array, Mask]:
    """Image points ``(L, n, 2)`` px that move with a box from frame ``start`` on; which ``(n,)`` of them meet it.

    ``points`` ``(n, 2)`` px are where they are in that frame.
    """
    track, frames = view.tracks[owner], slice(start, start + length)
    world_to_box = inverse(track.box_to_world[start])
    camera_to_box = world_to_box @ command.camera_to_world[start]
    directions = command.directions(points)
    on_box, hit = ray_box(camera_to_box[:3, 3], directions @ camera_to_box[:3, :3].T, track.size)
    box_to_camera = inverse(command.camera_to_world[frames]) @ track.box_to_world[frames]
    predicted, _ = project(transform(box_to_camera, on_box[None]), command.intrinsics)
    return predicted, hit


def ray_box(origin: Array, directions: Array, size: Array) -> tuple[Array, Mask]:
    """Where rays from ``origin`` ``(3,)`` along ``directions`` ``(N, 3)`` enter a box of ``size`` centred at zero.

    Points ``(N, 3)`` m and whether ``(N,)`` there is one (Kay and Kajiya 1986, the slab method).
    """
    safe = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    one, other = (-size / 2 - origin) / safe, (size / 2 - origin) / safe
    enter, leave = np.minimum(one, other).max(1), np.maximum(one, other).min(1)
    return np.asarray(origin + enter[:, None] * directions), np.asarray((enter < leave) & (enter > 0))
