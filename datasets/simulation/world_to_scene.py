"""Conversion of a world to a Scene: boxes, lanes and poses, without pixels."""

import numpy as np

from driveforge.datasets.scene import Camera, Scene, Track
from driveforge.datasets.simulation.world import Body, World

_PRESENT_WITHIN_M = 80.0


def world_to_scene(world: World, cameras: tuple[Camera, ...], *, clip_id: str, domain: str, split: str) -> Scene:
    """The Scene of ``world`` with ``cameras``; tracks are present within 80 m of the ego vehicle, visible or not."""
    tracks = [_track(world, body) for body in world.bodies if body.category]
    return Scene(
        clip_id=clip_id, domain=domain, timestamps=world.timestamps, cameras=cameras, ego_to_world=world.ego_to_world,
        caption=world.caption, tracks=tuple(track for track in tracks if track.present.any()), lanes=world.lanes,
        source=f"simulated:{clip_id}", split=split,
    )  # fmt: skip


def _track(world: World, body: Body) -> Track:
    boxes = np.array(np.broadcast_to(body.poses, (len(world.timestamps), 4, 4)))
    if not body.is_centered:
        boxes[:, :3, 3] += boxes[:, :3, 2] * body.size[2] / 2
    near = np.linalg.norm(boxes[:, :3, 3] - world.ego_to_world[:, :3, 3], axis=1) < _PRESENT_WITHIN_M
    return Track(id=body.id, category=body.category, size=np.array(body.size), box_to_world=boxes, present=near)
