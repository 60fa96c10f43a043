"""A sparse synthetic lidar scan and the visible fraction of boxes, by ray casting.

The devkit needs a LIDAR_TOP point cloud to render top views and single annotations.
"""

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array, inverse, pose, project, transform, yaw_rotation
from driveforge.datasets.scene import Camera

# The lidar of nuScenes: above the roof, y axis forward.
LIDAR_TO_EGO: Array = pose(yaw_rotation(-np.pi / 2), [0.94, 0.0, 1.84])

_NUM_RINGS, _NUM_AZIMUTHS, _MAX_RANGE_M = 16, 180, 70.0
_ELEVATIONS = np.radians(np.linspace(-24.0, 4.0, _NUM_RINGS))
_GROUND_INTENSITY, _BOX_INTENSITY = 10.0, 60.0

# 27 points in a box of unit size, slightly inside its faces, so that boxes that touch do not hide each other.
_BOX_GRID = np.stack(np.meshgrid(*[[-0.45, 0.0, 0.45]] * 3, indexing="ij"), -1).reshape(-1, 3)


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


def visible_fractions(boxes_to_ego: Array, sizes: Array, cameras: tuple[Camera, ...], t: int) -> Array:
    """Fraction ``(B,)`` of each box that is inside the image of any camera in frame ``t`` and not occluded by a box."""
    points = transform(boxes_to_ego, _BOX_GRID * sizes[:, None])
    visible = np.zeros(points.shape[:2], np.bool_)
    for camera in cameras:
        assert camera.camera_to_ego is not None and camera.intrinsics is not None
        camera_to_ego = camera.camera_to_ego if camera.camera_to_ego.ndim == 2 else camera.camera_to_ego[t]
        pixels, depth = project(transform(inverse(camera_to_ego), points), camera.intrinsics)
        in_view = (depth > 0.1) & (pixels >= -0.5).all(-1)
        in_view &= (pixels <= [camera.width - 0.5, camera.height - 0.5]).all(-1)
        box, point = np.nonzero(in_view & ~visible)
        rays = points[box, point] - camera_to_ego[:3, 3]
        entries = ray_box_entries(np.broadcast_to(camera_to_ego[:3, 3], rays.shape), rays, boxes_to_ego, sizes)
        entries[np.arange(len(box)), box] = np.inf
        # Rays reach their point at s = 1: an entry before it is an occlusion.
        visible[box, point] = entries.min(1, initial=np.inf) >= 1
    return np.asarray(visible.mean(1))


def ray_box_entries(origins: Array, directions: Array, boxes_to_frame: Array, sizes: Array) -> Array:
    """Parameter ``s >= 0`` ``(R, B)`` at which rays ``origins + s * directions`` ``(R, 3)`` enter each box; inf if they
    miss it.

    The slab method (Kay and Kajiya, "Ray tracing complex scenes", 1986) in the frame of each box.
    """
    frame_to_boxes = inverse(boxes_to_frame)
    start = np.einsum("bij,rj->rbi", frame_to_boxes[:, :3, :3], origins) + frame_to_boxes[:, :3, 3]
    along = np.einsum("bij,rj->rbi", frame_to_boxes[:, :3, :3], directions)
    along = np.where(np.abs(along) < 1e-12, 1e-12, along)
    low, high = (-sizes / 2 - start) / along, (sizes / 2 - start) / along
    enter, leave = np.minimum(low, high).max(-1), np.maximum(low, high).min(-1)
    return np.asarray(np.where((enter <= leave) & (leave >= 0), np.maximum(enter, 0), np.inf))


def _ray_directions() -> Array:
    """Unit directions ``(rings * azimuths, 3)`` in the lidar frame, ring by ring."""
    elevation, azimuth = np.meshgrid(
        _ELEVATIONS, np.radians(np.arange(_NUM_AZIMUTHS) * 360 / _NUM_AZIMUTHS), indexing="ij"
    )
    flat = np.cos(elevation)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], -1)
    return np.asarray(directions.reshape(-1, 3))
