"""Depth and instance masks of a simulated scene, also after an edit: ground truth for the command, not for the pixels.

A generated clip follows its command only approximately, so these are exact for the commanded geometry alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Scene, Track
from driveforge.datasets.simulation.mesh import CUBOID_FACES, Part, box
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.world import Body, World

MAX_DEPTH_M = 655.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DepthAndInstances:
    """``depth`` ``(V, T, H, W)`` uint16 in centimeters along the optical axis, 0 for sky and beyond ``MAX_DEPTH_M``.

    ``instances`` ``(V, T, H, W)`` uint16 are 1 + the index of the visible track, 0 for everything else.
    """

    depth: NDArray[np.uint16]
    instances: NDArray[np.uint16]


def render_depth_and_instances(world: World, recorded: Scene, scene: Scene) -> DepthAndInstances:
    """Render ``scene``, which is ``recorded``, the scene of ``world``, or an edit of it, with calibrated cameras."""
    assert scene.ego_to_world is not None, "simulated scenes have an ego pose"
    bodies = tuple(_edited_bodies(world, recorded, scene))
    renderer = Renderer(replace(world, ego_to_world=scene.ego_to_world, bodies=bodies))
    numbers = {track.id: number for number, track in enumerate(scene.tracks, start=1)}
    number_of_body = np.array([*(numbers.get(body.id, 0) if body.category else 0 for body in bodies), 0], np.uint16)
    views = [[renderer.depth_and_bodies(t, camera) for t in range(scene.num_frames)] for camera in scene.cameras]
    depth = np.array([[frame for frame, _ in view] for view in views])
    return DepthAndInstances(
        depth=np.where(depth <= MAX_DEPTH_M, np.rint(100 * np.minimum(depth, MAX_DEPTH_M)), 0).astype(np.uint16),
        # Index -1 of ground and sky selects the last number, which is 0.
        instances=np.array([[number_of_body[seen] for _, seen in view] for view in views]),
    )


def _edited_bodies(world: World, recorded: Scene, scene: Scene) -> Iterator[Body]:
    """The bodies of the world with the poses of the edited tracks, without removed and with inserted vehicles."""
    tracks, before = {track.id: track for track in scene.tracks}, {track.id for track in recorded.tracks}
    for body in world.bodies:
        if body.category and body.id in tracks:
            yield replace(body, poses=_body_poses(body, tracks[body.id]))
        elif not body.category or body.id not in before:
            yield body
    yield from (_box_body(track) for name, track in tracks.items() if name not in before)


def _body_poses(body: Body, track: Track) -> NDArray[np.float64]:
    """Poses ``(T, 4, 4)`` of a body on its track; those of the world where the track is not present."""
    poses = np.array(np.broadcast_to(body.poses, track.box_to_world.shape))
    moved = track.box_to_world.copy()
    if not body.is_centered:
        moved[:, :3, 3] -= moved[:, :3, 2] * body.size[2] / 2
    poses[track.present] = moved[track.present]
    return poses


def _box_body(track: Track) -> Body:
    """A box for a vehicle that an edit inserted, out of sight where it is not present."""
    length, width, height = map(float, track.size)
    part = Part(
        vertices=box((length, width, height)) - [0, 0, height / 2], faces=CUBOID_FACES, textures=("plaster",) * 6
    )
    poses = track.box_to_world.copy()
    poses[~track.present, 2, 3] = -1000.0
    return Body(
        parts=(part,), poses=poses, size=(length, width, height), id=track.id, category=track.category, is_centered=True
    )
