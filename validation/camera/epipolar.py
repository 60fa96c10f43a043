"""Epipolar geometry: essential matrices, and the Sampson distance of tracks to a motion.

A fixed point observed along x_a and x_b (z = 1) satisfies x_b' E x_a = 0 with E = [t]x R. The deviation of a track is
its first-order geometric (Sampson) distance: Hartley and Zisserman, "Multiple View Geometry", 2nd ed., (11.9).
"""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pairs import FramePair


def skew_symmetric(vectors: Array) -> Array:
    """``(..., 3, 3)`` matrices [v]x with [v]x u = v x u, for vectors ``(..., 3)``."""
    out = np.zeros((*vectors.shape, 3))
    for row, column, other in ((2, 1, 0), (0, 2, 1), (1, 0, 2)):  # x, y, z: assigned, since stacking is slow
        out[..., row, column] = vectors[..., other]
        out[..., column, row] = -vectors[..., other]
    return out


def essential_matrix(rotation: Array, translation: Array) -> Array:
    """E = [t]x R with t of unit length; ``(..., 3, 3)``."""
    unit = translation / np.linalg.norm(translation, axis=-1, keepdims=True)
    return np.asarray(skew_symmetric(unit) @ rotation)


def sampson_distance(essentials: Array, a: Array, b: Array) -> Array:
    """Signed Sampson distances ``(..., N)`` on the plane z = 1, of directions ``(N, 3)`` under E ``(..., 3, 3)``.

    d = b'Ea / sqrt((Ea)_1² + (Ea)_2² + (E'b)_1² + (E'b)_2²); it does not depend on the scale of E.
    """
    # Row vectors: a @ E' are the lines E a in the second image, b @ E the lines E'b in the first one.
    forward, backward = a @ np.swapaxes(essentials, -1, -2), b @ essentials
    gradient = (forward[..., :2] ** 2).sum(-1) + (backward[..., :2] ** 2).sum(-1)
    return np.asarray((forward * b).sum(-1) / np.sqrt(np.maximum(gradient, 1e-18)))


def track_residuals(pair: FramePair, pixel: float) -> Array:
    """Absolute Sampson distance ``(N,)`` of every track to the commanded motion, reference px."""
    essential = essential_matrix(pair.motion.rotation, pair.motion.translation)
    return np.abs(sampson_distance(essential, pair.a, pair.b)) / pixel
