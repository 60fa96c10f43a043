"""Whether an edited agent stays clear of all others and of the ego vehicle."""

import numpy as np

from driveforge.datasets.edits.paths import EditNotApplicable, require_ego_pose
from driveforge.datasets.geometry import Array, pose, yaw_from_pose
from driveforge.datasets.scene import Scene, Track

# Length and width of the ego vehicle, and the distance from its rear axle, the origin of the ego frame, to its center.
EGO_SIZE_M, EGO_CENTER_M = (4.6, 1.9), 1.4
# Vehicles closer than this touch, given the tolerance of annotated boxes.
MIN_GAP_M = 0.2


def require_free_path(scene: Scene, track: Track) -> None:
    """Raise EditNotApplicable if ``track`` touches another object or the ego vehicle in any frame of ``scene``."""
    from driveforge.datasets.simulation.collision import is_overlapping  # compiles with numba

    ego = require_ego_pose(scene) @ pose(np.eye(3), [EGO_CENTER_M, 0.0, 0.0])
    own = _footprints(track.box_to_world, track.size)
    others = [("the ego vehicle", _footprints(ego, EGO_SIZE_M), np.ones(scene.num_frames, bool))]
    others += [(t.id, _footprints(t.box_to_world, t.size), t.present) for t in scene.tracks if t.id != track.id]
    for name, footprints, present in others:
        for t in np.flatnonzero(track.present & present):
            if is_overlapping(own[t], footprints[t], MIN_GAP_M):
                raise EditNotApplicable(f"{scene.clip_id}: the edited {track.category} would touch {name} in frame {t}")


def _footprints(box_to_world: Array, size: Array | tuple[float, float]) -> Array:
    """Rectangles on the ground ``(T, 6)``, as ``simulation.collision.footprint`` makes one."""
    yaw = yaw_from_pose(box_to_world)
    half = np.tile([size[0] / 2, size[1] / 2], (len(yaw), 1))
    return np.column_stack([box_to_world[:, :2, 3], np.cos(yaw), np.sin(yaw), half])
