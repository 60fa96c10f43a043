"""Textured solids scattered on a floor."""

from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.simulation.collision import footprint, is_overlapping
from driveforge.datasets.simulation.mesh import CUBOID_FACES, Part, box, ellipsoid, prism
from driveforge.datasets.simulation.world import Body, Color, Size

_PATTERNS = ("checks", "dots", "waves", "cloth", "plaster", "tiles", "box_side")
_ATTEMPTS = 60


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SolidSpec:
    """Shape, size and placement of a solid: ``place`` ``(2,)`` in m on the ground, ``heading`` in rad."""

    shape: str
    size: Size
    place: Array
    heading: float


def scatter(rng: np.random.Generator, count: int, reach: float, sizes: tuple[float, float]) -> list[SolidSpec]:
    """Up to ``count`` solids that do not overlap, with x and y within ``reach`` meters of the origin."""
    occupied: list[Array] = []
    specs: list[SolidSpec] = []
    for _ in range(_ATTEMPTS):
        shape = str(rng.choice(["box", "box", "ball", "column"]))
        a, b, c = (float(v) for v in rng.uniform(*sizes, 3))
        size = {"ball": (a, a, a), "column": (a, a, 1.6 * c), "box": (a, b, c)}[shape]
        place, heading = rng.uniform(-reach, reach, 2), float(rng.uniform(0, 2 * np.pi))
        outline = footprint(float(place[0]), float(place[1]), heading, size[0], size[1])
        if len(specs) < count and not any(is_overlapping(outline, other, 0.15) for other in occupied):
            occupied.append(outline)
            specs.append(SolidSpec(shape=shape, size=size, place=place, heading=heading))
    return specs


def solid_body(rng: np.random.Generator, name: str, spec: SolidSpec, poses: Array) -> Body:
    solid = _build_solid(rng, spec.size, spec.shape)
    return Body(parts=(solid,), poses=poses, size=spec.size, id=name, category="object", is_centered=True)


def static_body(rng: np.random.Generator, name: str, spec: SolidSpec) -> Body:
    poses = pose(yaw_rotation(spec.heading), [*spec.place, spec.size[2] / 2])[None]
    return solid_body(rng, name, spec, poses)


def _build_solid(rng: np.random.Generator, size: Size, shape: str) -> Part:
    """A box, ball or column of ``size``, centered on its origin, with a random texture and color."""
    pattern = str(rng.choice(_PATTERNS))
    tile = float(rng.uniform(0.5, 1.1))
    if shape == "ball":
        vertices, faces = ellipsoid(size, 12, 8)
    elif shape == "column":
        vertices, faces = prism(size[0] / 2, size[0] / 2 * float(rng.uniform(0.55, 1.0)), size[2], 10)
        vertices = vertices - [0, 0, size[2] / 2]
    else:
        vertices, faces = box(size) - [0, 0, size[2] / 2], CUBOID_FACES
    return Part(vertices=vertices, faces=faces, textures=(pattern,) * len(faces), tint=_sample_color(rng), tile=tile)


def _sample_color(rng: np.random.Generator) -> Color:
    """A saturated color: one channel high, one low."""
    r, g, b = (float(c) for c in rng.permutation([rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.4)]))
    return (r, g, b)
