"""Patterned solids scattered on a floor."""

from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.simulation.mesh import BOX_FACES, Part, ball, box, prism
from driveforge.datasets.simulation.overlap import footprint, overlapping
from driveforge.datasets.simulation.world import Body, Colour, Size

_PATTERNS = ("checks", "dots", "waves", "cloth", "plaster", "tiles", "box_side")
_ATTEMPTS = 60


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Thing:
    """A body to be: ``place`` ``(2,)`` m on the ground, ``heading`` rad."""

    shape: str
    size: Size
    place: Array
    heading: float


def scatter(rng: np.random.Generator, count: int, reach: float, sizes: tuple[float, float]) -> list[Thing]:
    """Up to ``count`` things within ``reach`` metres of the origin that do not touch."""
    taken: list[Array] = []
    things: list[Thing] = []
    for _ in range(_ATTEMPTS):
        shape = str(rng.choice(["box", "box", "ball", "column"]))
        a, b, c = (float(v) for v in rng.uniform(*sizes, 3))
        size = {"ball": (a, a, a), "column": (a, a, 1.6 * c), "box": (a, b, c)}[shape]
        place, heading = rng.uniform(-reach, reach, 2), float(rng.uniform(0, 2 * np.pi))
        outline = footprint(float(place[0]), float(place[1]), heading, size[0], size[1])
        if len(things) < count and not any(overlapping(outline, other, 0.15) for other in taken):
            taken.append(outline)
            things.append(Thing(shape=shape, size=size, place=place, heading=heading))
    return things


def solid_body(rng: np.random.Generator, name: str, thing: Thing, poses: Array) -> Body:
    solid = _solid(rng, thing.size, thing.shape)
    return Body(parts=(solid,), poses=poses, size=thing.size, id=name, category="object", is_centred=True)


def standing_body(rng: np.random.Generator, name: str, thing: Thing) -> Body:
    poses = pose(yaw_rotation(thing.heading), [*thing.place, thing.size[2] / 2])[None]
    return solid_body(rng, name, thing, poses)


def _solid(rng: np.random.Generator, size: Size, shape: str) -> Part:
    """A box, ball or column of ``size``, centred on its origin, in some pattern."""
    pattern = str(rng.choice(_PATTERNS))
    tile = float(rng.uniform(0.5, 1.1))
    if shape == "ball":
        vertices, faces = ball(size, 12, 8)
    elif shape == "column":
        vertices, faces = prism(size[0] / 2, size[0] / 2 * float(rng.uniform(0.55, 1.0)), size[2], 10)
        vertices = vertices - [0, 0, size[2] / 2]
    else:
        vertices, faces = box(size) - [0, 0, size[2] / 2], BOX_FACES
    return Part(vertices=vertices, faces=faces, textures=(pattern,) * len(faces), tint=_colour(rng), tile=tile)


def _colour(rng: np.random.Generator) -> Colour:
    """A lively colour: one channel high, one low."""
    r, g, b = (float(c) for c in rng.permutation([rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.4)]))
    return (r, g, b)
