"""How much of a box an image shows: the share inside the image, and the share behind other boxes, by ray casting."""

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array, inverse, project, transform
from driveforge.datasets.scene import Camera

# 27 points in a box of unit size, slightly inside its faces, so that boxes that touch do not hide each other.
_BOX_GRID = np.stack(np.meshgrid(*[[-0.45, 0.0, 0.45]] * 3, indexing="ij"), -1).reshape(-1, 3)
_NEAR_M = 0.1


def visible_fractions(boxes_to_ego: Array, sizes: Array, cameras: tuple[Camera, ...], t: int) -> Array:
    """Fraction ``(B,)`` of each box that is inside the image of any camera in frame ``t`` and not occluded by a box."""
    visible = np.zeros((len(sizes), len(_BOX_GRID)), np.bool_)
    for camera in cameras:
        visible |= visible_points(boxes_to_ego, sizes, camera, t)[1]
    return np.asarray(visible.mean(1))


def visible_points(
    boxes_to_ego: Array, sizes: Array, camera: Camera, t: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of P points inside each box are in the image of a calibrated camera in frame ``t``, and which are visible.

    Both are ``(B, P)``; a point in the image is visible unless another box is in front of it.
    """
    assert camera.camera_to_ego is not None and camera.intrinsics is not None
    camera_to_ego = camera.camera_to_ego if camera.camera_to_ego.ndim == 2 else camera.camera_to_ego[t]
    points = transform(boxes_to_ego, _BOX_GRID * sizes[:, None])
    pixels, depth = project(transform(inverse(camera_to_ego), points), camera.intrinsics)
    in_image = (depth > _NEAR_M) & (pixels >= -0.5).all(-1)
    in_image &= (pixels <= [camera.width - 0.5, camera.height - 0.5]).all(-1)
    visible = in_image.copy()
    box, point = np.nonzero(in_image)
    rays = points[box, point] - camera_to_ego[:3, 3]
    entries = ray_box_entries(np.broadcast_to(camera_to_ego[:3, 3], rays.shape), rays, boxes_to_ego, sizes)
    entries[np.arange(len(box)), box] = np.inf
    # Rays reach their point at s = 1: an entry before it is an occlusion.
    visible[box, point] = entries.min(1, initial=np.inf) >= 1
    return in_image, visible


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
