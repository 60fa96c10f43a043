"""A sparse synthetic lidar scan, by ray casting.

The devkit needs a LIDAR_TOP point cloud to render top views and single annotations.
"""

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.box_visibility import ray_box_entries
from driveforge.datasets.geometry import Array, inverse, pose, transform, yaw_rotation

# The lidar of nuScenes: above the roof, y axis forward.
LIDAR_TO_EGO: Array = pose(yaw_rotation(-np.pi / 2), [0.94, 0.0, 1.84])

_NUM_RINGS, _NUM_AZIMUTHS, _MAX_RANGE_M = 16, 180, 70.0
_ELEVATIONS = np.radians(np.linspace(-24.0, 4.0, _NUM_RINGS))
_GROUND_INTENSITY, _BOX_INTENSITY = 10.0, 60.0


def simulate_scan(
    boxes_to_ego: Array, sizes: Array, *, hit_all: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One lidar revolution over flat ground (ego z = 0) and boxes ``(B, 4, 4)`` of ``sizes`` ``(B, 3)`` m.

    Returns points ``(N, 5)`` float32 (x, y, z in m in the lidar frame, intensity, ring) and hits per box ``(B,)``. With
    ``hit_all``, a box without a hit gets one point on its near side, even if it is hidden or out of range.
    """
    directions = _ray_directions() @ LIDAR_TO_EGO[:3, :3].T
    origin = LIDAR_TO_EGO[:3, 3]
    ground = np.where(directions[:, 2] < 0, -origin[2] / np.minimum(directions[:, 2], -1e-9), np.inf)
    entries = ray_box_entries(np.broadcast_to(origin, directions.shape), directions, boxes_to_ego, sizes)
    nearest = entries.min(1, initial=np.inf)
    ranges = np.minimum(ground, nearest)
    in_range = ranges <= _MAX_RANGE_M
    points = transform(inverse(LIDAR_TO_EGO), origin + directions[in_range] * ranges[in_range, None])
    on_box = (nearest < ground)[in_range]
    intensity = np.where(on_box, _BOX_INTENSITY, _GROUND_INTENSITY)
    ring = np.repeat(np.arange(_NUM_RINGS), _NUM_AZIMUTHS)[in_range]
    hits = (
        np.bincount(entries[in_range][on_box].argmin(1), minlength=len(sizes)) if len(sizes) else np.zeros(0, np.int64)
    )
    if hit_all:
        missed = np.flatnonzero(hits == 0)
        points = np.concatenate([points, _near_points(boxes_to_ego[missed], sizes[missed])])
        intensity = np.concatenate([intensity, np.full(len(missed), _BOX_INTENSITY)])
        ring = np.concatenate([ring, np.zeros(len(missed), np.int64)])
        hits = np.maximum(hits, 1)
    return np.column_stack([points, intensity, ring]).astype(np.float32), hits


def _near_points(boxes_to_ego: Array, sizes: Array) -> Array:
    """The points ``(B, 3)`` in the lidar frame where rays to the centers of the boxes enter them."""
    origin = LIDAR_TO_EGO[:3, 3]
    rays = boxes_to_ego[:, :3, 3] - origin
    entries = np.diagonal(ray_box_entries(np.broadcast_to(origin, rays.shape), rays, boxes_to_ego, sizes))
    # A little deeper than the surface, so that the point is inside its box after rounding to float32.
    depth = np.minimum(entries + 0.01 * (1 - entries), 1)
    return transform(inverse(LIDAR_TO_EGO), origin + rays * depth[:, None])


def _ray_directions() -> Array:
    """Unit directions ``(rings * azimuths, 3)`` in the lidar frame, ring by ring."""
    elevation, azimuth = np.meshgrid(
        _ELEVATIONS, np.radians(np.arange(_NUM_AZIMUTHS) * 360 / _NUM_AZIMUTHS), indexing="ij"
    )
    flat = np.cos(elevation)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], -1)
    return np.asarray(directions.reshape(-1, 3))
