"""The reference line of a road, and road coordinates: meters along the line and meters to its left."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from driveforge.datasets.geometry import Array

STEP_M = 0.25
_REACH_M = 34.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReferenceLine:
    """A smooth planar curve, sampled every ``STEP_M`` meters.

    ``along`` ``(N,)`` and ``points`` ``(N, 2)`` are in m, ``heading`` ``(N,)`` in rad, ``curvature`` ``(N,)`` in 1/m,
    positive to the left.
    """

    along: Array
    points: Array
    heading: Array
    curvature: Array

    def to_world(self, along: ArrayLike, left: ArrayLike) -> tuple[Array, Array]:
        """World positions ``(..., 2)`` and headings of the line ``(...,)`` at road coordinates.

        The line is extended straight beyond its ends.
        """
        along, left = np.broadcast_arrays(np.asarray(along, np.float64), np.asarray(left, np.float64))
        inside = np.clip(along, self.along[0], self.along[-1])
        heading = np.interp(inside, self.along, self.heading)
        x, y = (np.interp(inside, self.along, self.points[:, k]) for k in range(2))
        over = along - inside
        c, s = np.cos(heading), np.sin(heading)
        return np.stack([x + over * c - left * s, y + over * s + left * c], -1), heading

    def curvature_at(self, along: ArrayLike) -> Array:
        return np.asarray(np.interp(np.asarray(along, np.float64), self.along, self.curvature, left=0, right=0))

    def distance(self, points: Array) -> Array:
        """Distance in meters of points ``(..., 2)`` to the curve, by its samples: up to 3 cm too large near it."""
        flat = points.reshape(-1, 1, 2)
        samples = self.points[None, ::4]
        return np.asarray(np.sqrt(((flat - samples) ** 2).sum(-1).min(1)).reshape(points.shape[:-1]))


def integrate_curvature(along: Array, curvature: Array) -> ReferenceLine:
    """The curve with ``curvature`` ``(N,)`` at ``along`` ``(N,)``, through the origin with heading +x at along = 0."""
    middle = (curvature[1:] + curvature[:-1]) / 2
    heading = np.concatenate([[0.0], np.cumsum(middle * np.diff(along))])
    bearing = (heading[1:] + heading[:-1]) / 2
    steps = np.diff(along)[:, None] * np.stack([np.cos(bearing), np.sin(bearing)], 1)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    origin = int(np.argmin(np.abs(along)))
    c, s = np.cos(heading[origin]), np.sin(heading[origin])
    points = (points - points[origin]) @ np.array([[c, -s], [s, c]])
    return ReferenceLine(along=along, points=points, heading=heading - heading[origin], curvature=curvature)


def curvature_profile(along: Array, arcs: list[tuple[float, float, float]], ramp: float) -> Array:
    """Curvature ``(N,)`` of arcs (start, end, curvature) with linear transitions of ``ramp`` meters."""
    total = np.zeros_like(along)
    for start, end, curvature in arcs:
        rise = np.clip((along - start) / ramp + 0.5, 0, 1)
        fall = np.clip((end - along) / ramp + 0.5, 0, 1)
        total += curvature * np.minimum(rise, fall)
    return total


def coordinate_grid(line: ReferenceLine, cell: float) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Road coordinates (left, along) on a grid ``(rows, columns, 2)`` with ``cell`` meters, and its origin (x, y) m.

    Cells more than 34 m from the line have the value 1000.
    """
    low, high = line.points.min(0) - _REACH_M, line.points.max(0) + _REACH_M
    columns, rows = np.ceil((high - low) / cell).astype(int) + 1
    grid = np.full((rows, columns, 2), 1000.0, np.float32)
    _fill(grid, low, cell, line.along, line.points, line.heading, line.curvature)
    return grid, (float(low[0]), float(low[1]))


@numba.njit(cache=True, nogil=True)
def _fill(grid, origin, cell, along, points, heading, curvature):  # type: ignore[no-untyped-def]
    """Fill each cell of ``grid`` with the road coordinates relative to the nearest sample of the line."""
    nearest = np.full(grid.shape[:2], _REACH_M**2)
    reach = int(_REACH_M / cell)
    for k in range(len(along)):
        row, column = int((points[k, 1] - origin[1]) / cell), int((points[k, 0] - origin[0]) / cell)
        c, s = np.cos(heading[k]), np.sin(heading[k])
        for i in range(max(row - reach, 0), min(row + reach + 2, grid.shape[0])):
            for j in range(max(column - reach, 0), min(column + reach + 2, grid.shape[1])):
                dx, dy = origin[0] + j * cell - points[k, 0], origin[1] + i * cell - points[k, 1]
                squared = dx * dx + dy * dy
                if squared < nearest[i, j]:
                    nearest[i, j] = squared
                    left = c * dy - s * dx
                    grid[i, j, 0] = left
                    # Distances along the line shrink by 1 - curvature * left at this lateral offset.
                    grid[i, j, 1] = along[k] + (c * dx + s * dy) / max(1 - curvature[k] * left, 0.2)
