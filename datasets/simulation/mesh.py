"""Polyhedral parts of bodies.

A part is a closed polyhedron with planar convex faces, in its own frame (x forward, y left, z up, meters). Faces are
counter-clockwise seen from outside. Textures are names in the atlas.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from driveforge.datasets.geometry import Array, pose

WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Swing:
    """Swing of a limb about its y axis: ``amplitude`` and ``phase`` in rad, ``rate`` in rad per m walked."""

    amplitude: float
    phase: float
    rate: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """``textures`` has one name per face; ``tile`` is meters per repeat, or None to stretch over the bounding box.

    ``tint`` multiplies the painted texels. Parts with ``is_brake_light`` glow while their body brakes.
    """

    vertices: Array
    faces: tuple[tuple[int, ...], ...]
    textures: tuple[str, ...]
    tint: tuple[float, float, float] = WHITE
    tile: float | None = None
    to_body: Array = field(default_factory=lambda: np.eye(4))
    swing: Swing | None = None
    is_brake_light: bool = False


def translation(x: float, y: float, z: float) -> Array:
    """The pose of a translation in meters."""
    return pose(np.eye(3), [x, y, z])


CUBOID_FACES = ((4, 6, 7, 5), (0, 1, 3, 2), (2, 3, 7, 6), (0, 4, 5, 1), (1, 5, 7, 3), (0, 2, 6, 4))


def box(size: tuple[float, float, float], *, front: float = 0, rear: float = 0, side: float = 0) -> Array:
    """Vertices ``(8, 3)`` of a box on z = 0, with its top inset by ``front``, ``rear`` and ``side`` meters.

    Faces are ``CUBOID_FACES``: +x, -x, +y, -y, +z, -z.
    """
    length, width, height = size
    corners = []
    for x, inset in ((-length / 2, rear), (length / 2, -front)):
        for y, slope in ((-width / 2, side), (width / 2, -side)):
            corners += [[x, y, 0.0], [x + inset, y + slope, height]]
    return np.array(corners)


def gable_roof(length: float, width: float, height: float) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    """A gable roof on z = 0, ridge along x: vertices ``(6, 3)`` and faces +x, -x, +y slope, -y slope, bottom."""
    x, y = length / 2, width / 2
    vertices = np.array([[-x, -y, 0], [-x, y, 0], [x, -y, 0], [x, y, 0], [-x, 0, height], [x, 0, height]])
    return vertices, ((2, 3, 5), (1, 0, 4), (1, 4, 5, 3), (0, 2, 5, 4), (0, 1, 3, 2))


def prism(bottom: float, top: float, height: float, sides: int) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    """A tapered vertical prism on z = 0 with the given radii: ``sides`` side faces, then top and bottom."""
    angle = np.arange(sides) * (2 * np.pi / sides) + np.pi / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    low = np.column_stack([bottom * ring, np.zeros(sides)])
    high = np.column_stack([top * ring, np.full(sides, height)])
    around = [(i, (i + 1) % sides, (i + 1) % sides + sides, i + sides) for i in range(sides)]
    caps = [tuple(range(sides, 2 * sides)), tuple(range(sides - 1, -1, -1))]
    return np.concatenate([low, high]), (*around, *caps)


def wheel(radius: float, width: float, sides: int = 12) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    """A prism around the y axis, centered on its hub: ``sides`` tread faces, then the left and right discs."""
    vertices, faces = prism(radius, radius, width, sides)
    # (x, y, z) -> (x, -z, y) rotates the z axis to -y and keeps the orientation of faces.
    turned = np.column_stack([vertices[:, 0], width / 2 - vertices[:, 2], vertices[:, 1]])
    return turned, (*faces[:sides], faces[sides + 1], faces[sides])


def ellipsoid(
    size: tuple[float, float, float], sides: int = 8, rings: int = 4
) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    """An ellipsoid with diameters ``size`` around the origin, of quads, with triangles at the poles."""
    vertices, faces = _unit_sphere(sides, rings)
    return vertices * (np.array(size) / 2), faces


@lru_cache
def _unit_sphere(sides: int, rings: int) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    angle = np.arange(sides) * (2 * np.pi / sides)
    level = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)[1:-1]
    grid = [[np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)] for e in level for a in angle]
    vertices = np.array([*grid, [0, 0, -1], [0, 0, 1]])
    vertices.setflags(write=False)
    south, north = len(grid), len(grid) + 1
    faces: list[tuple[int, ...]] = []
    for j in range(sides):
        k = (j + 1) % sides
        faces.append((south, k, j))
        faces += [(r * sides + j, r * sides + k, (r + 1) * sides + k, (r + 1) * sides + j) for r in range(rings - 2)]
        faces.append(((rings - 2) * sides + j, (rings - 2) * sides + k, north))
    return vertices, tuple(faces)
