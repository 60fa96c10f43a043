"""Overlap tests of rectangles on the ground, for traffic and buildings."""

import numba
import numpy as np

from driveforge.datasets.geometry import Array


def footprint(x: float, y: float, heading: float, length: float, width: float) -> Array:
    """A rectangle as (x, y, cos heading, sin heading, half length, half width), in meters."""
    return np.array([x, y, np.cos(heading), np.sin(heading), length / 2, width / 2])


@numba.njit(cache=True, nogil=True)
def is_overlapping(a, b, gap):  # type: ignore[no-untyped-def]
    """Whether two rectangles are closer than ``gap`` meters (separating axis test; Gottschalk et al. 1996)."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    # Along an axis of a, b reaches as far as its half sides projected with |cos| and |sin| of the angle between them.
    turn_c, turn_s = abs(a[2] * b[2] + a[3] * b[3]), abs(a[2] * b[3] - a[3] * b[2])
    if abs(dx * a[2] + dy * a[3]) > a[4] + gap + b[4] * turn_c + b[5] * turn_s:
        return False
    if abs(dy * a[2] - dx * a[3]) > a[5] + gap + b[4] * turn_s + b[5] * turn_c:
        return False
    if abs(dx * b[2] + dy * b[3]) > b[4] + gap + a[4] * turn_c + a[5] * turn_s:
        return False
    return bool(abs(dy * b[2] - dx * b[3]) <= b[5] + gap + a[4] * turn_s + a[5] * turn_c)


@numba.njit(cache=True, nogil=True)
def any_overlap(footprints, gap):  # type: ignore[no-untyped-def]
    """Whether any two of the moving rectangles ``(N, T, 6)`` are closer than ``gap`` meters at any time."""
    for t in range(footprints.shape[1]):
        for i in range(len(footprints)):
            for j in range(i):
                if is_overlapping(footprints[i, t], footprints[j, t], gap):
                    return True
    return False
