"""Poses in nuScenes format: a translation in meters and a unit quaternion (w, x, y, z)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from driveforge.datasets.geometry import Array, pose


def quaternion_to_rotation(quaternion: ArrayLike) -> Array:
    """Rotations ``(..., 3, 3)`` of quaternions ``(..., 4)`` w, x, y, z, which are normalized first."""
    q = np.asarray(quaternion, np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def rotation_to_quaternion(rotation: Array) -> Array:
    """Unit quaternions ``(..., 4)``, w >= 0, of ``(..., 3, 3)`` rotations.

    Uses the best conditioned row of 4 q q^T (Shepperd, "Quaternion from rotation matrix", 1978).
    """
    m = np.moveaxis(rotation, (-2, -1), (0, 1))
    w_x, w_y, w_z = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    x_y, x_z, y_z = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    rows = [
        [1 + m[0, 0] + m[1, 1] + m[2, 2], w_x, w_y, w_z],
        [w_x, 1 + m[0, 0] - m[1, 1] - m[2, 2], x_y, x_z],
        [w_y, x_y, 1 - m[0, 0] + m[1, 1] - m[2, 2], y_z],
        [w_z, x_z, y_z, 1 - m[0, 0] - m[1, 1] + m[2, 2]],
    ]
    outer = np.stack([np.stack(row, -1) for row in rows], -2)
    best = np.diagonal(outer, axis1=-2, axis2=-1).argmax(-1)
    q = np.take_along_axis(outer, best[..., None, None], -2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.asarray(np.where(q[..., :1] < 0, -q, q))


def rows_to_poses(rows: Sequence[Mapping[str, Any]]) -> Array:
    """Poses ``(N, 4, 4)`` of rows with ``translation`` and ``rotation``."""
    return pose(quaternion_to_rotation([row["rotation"] for row in rows]), [row["translation"] for row in rows])


def pose_fields(a_to_b: Array) -> dict[str, list[float]]:
    """The fields ``translation`` and ``rotation`` of a row, from a pose ``(4, 4)``."""
    return {"translation": a_to_b[:3, 3].tolist(), "rotation": rotation_to_quaternion(a_to_b[:3, :3]).tolist()}
