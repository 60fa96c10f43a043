"""Rigid poses, pinhole projection and boxes.

Frames: camera x right, y down, z forward (OpenCV); ego and box x forward, y left, z up (nuScenes). A pose ``a_to_b`` is
a ``(..., 4, 4)`` float64 matrix that maps a-coordinates to b. Pixel centers are at integers. Meters, radians.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# The camera that looks straight ahead: camera z is ego x, camera x is ego -y, camera y is ego -z.
FORWARD_CAMERA_TO_EGO: Array = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64)

# Corners of the unit cube: x varies slowest, z fastest, each over -0.5, 0.5.
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])

# Corner indices of the six faces (+x, -x, +y, -y, +z, -z), each in order around the face.
BOX_FACES: tuple[tuple[int, int, int, int], ...] = (
    (4, 5, 7, 6), (0, 1, 3, 2), (2, 3, 7, 6), (0, 1, 5, 4), (1, 3, 7, 5), (0, 2, 6, 4),
)  # fmt: skip


def pose(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """``(..., 4, 4)`` pose from a ``(..., 3, 3)`` rotation and a ``(..., 3)`` translation in meters."""
    rotation, translation = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
    shape = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    out = np.zeros((*shape, 4, 4))
    out[..., :3, :3], out[..., :3, 3], out[..., 3, 3] = rotation, translation, 1.0
    return out


def inverse(a_to_b: Array) -> Array:
    """``b_to_a`` of a rigid pose, by transposing its rotation."""
    rotation = np.swapaxes(a_to_b[..., :3, :3], -1, -2)
    return pose(rotation, -np.einsum("...ij,...j->...i", rotation, a_to_b[..., :3, 3]))


def yaw_rotation(yaw: ArrayLike) -> Array:
    """``(..., 3, 3)`` rotation by ``yaw`` radians about +z (counter-clockwise seen from above)."""
    yaw = np.asarray(yaw, np.float64)
    c, s, o, i = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    return np.stack([np.stack([c, -s, o], -1), np.stack([s, c, o], -1), np.stack([o, o, i], -1)], -2)


def yaw_from_pose(a_to_b: Array) -> Array:
    """Heading ``(...,)`` of the a-frame's x axis in the b-frame's x-y plane, radians."""
    return np.asarray(np.arctan2(a_to_b[..., 1, 0], a_to_b[..., 0, 0]))


def transform(a_to_b: Array, points: Array) -> Array:
    """``points`` ``(..., N, 3)`` of frame a in frame b."""
    return points @ np.swapaxes(a_to_b[..., :3, :3], -1, -2) + a_to_b[..., None, :3, 3]


def project(points: Array, intrinsics: Array) -> tuple[Array, Array]:
    """Pixels ``(..., 2)`` and depths ``(...,)`` in meters of camera-frame points ``(..., 3)``.

    Pixels of points at depth <= 0 are undefined: mask them by depth.
    """
    depth = points[..., 2]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    homogeneous = points @ intrinsics.T
    return homogeneous[..., :2] / safe[..., None], depth


def pixel_ray(intrinsics: Array, pixels: Array) -> Array:
    """Camera-frame directions ``(..., 3)`` through ``pixels`` ``(..., 2)``, with z = 1."""
    return np.asarray(np.concatenate([pixels, np.ones((*pixels.shape[:-1], 1))], -1) @ np.linalg.inv(intrinsics).T)


def pixel_rays(intrinsics: Array, height: int, width: int) -> Array:
    """Camera-frame directions ``(H, W, 3)`` through every pixel center, with z = 1."""
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    return pixel_ray(intrinsics, np.stack([u, v], -1))


def box_corners(box_to_frame: Array, size: Array) -> Array:
    """Corners ``(..., 8, 3)`` of boxes of ``size`` (length, width, height) in meters, indexed by ``BOX_FACES``."""
    return transform(box_to_frame, np.asarray(_CORNERS * size))


def is_rigid(matrix: Array, tolerance: float = 1e-4) -> bool:
    """Whether every ``(..., 4, 4)`` matrix has a right-handed orthonormal rotation and a last row of 0 0 0 1."""
    rotation = matrix[..., :3, :3]
    gram = rotation @ np.swapaxes(rotation, -1, -2)
    return bool(
        np.allclose(gram, np.eye(3), atol=tolerance)
        and np.all(np.linalg.det(rotation) > 0)
        and np.allclose(matrix[..., 3, :], [0, 0, 0, 1], atol=tolerance)
    )
