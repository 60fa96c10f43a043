"""The simulated world: moving bodies, ground and weather."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Lane
from driveforge.datasets.simulation.mesh import Part

Color = tuple[float, float, float]
Size = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Body:
    """A body made of parts; ``poses`` in the world frame are ``(T, 4, 4)``, or ``(1, 4, 4)`` if it is static.

    A body with a ``category`` becomes a track of ``size`` (length, width, height) in m. Its origin is the bottom center
    of its box, or the center if ``is_centered``. ``distance_walked`` ``(T,)`` in m drives the swing of limbs;
    ``braking`` ``(T,)`` turns brake lights on.
    """

    parts: tuple[Part, ...]
    poses: Array
    size: Size
    id: str = ""
    category: str = ""
    distance_walked: Array | None = None
    braking: NDArray[np.bool_] | None = None
    is_centered: bool = False
    casts_shadow: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Stripe:
    """A line painted ``lateral`` m left of the reference line: solid, or ``dash`` m painted in every ``period`` m."""

    lateral: float
    width: float
    color: Color
    period: float = 0.0
    dash: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Ground from the previous edge to ``edge`` m left of the reference line; ``tile`` is m per texture repeat."""

    edge: float
    texture: str
    tile: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ground:
    """Flat ground at z = 0, textured by road coordinates.

    ``coordinates`` ``(rows, columns, 2)`` float32 are (lateral, along) in m on a grid with cells of ``cell`` m that
    starts at ``origin`` (x, y) m. The last band has no outer edge. ``junctions`` ``(J, 2)`` are (center, half width) m
    along the road; ``crosswalks`` ``(Z, 3)`` are (start, end) m along and half the length across. ``lane_width`` in m
    spaces tire tracks; 0 means none.
    """

    coordinates: NDArray[np.float32]
    origin: tuple[float, float]
    cell: float
    bands: tuple[Band, ...]
    stripes: tuple[Stripe, ...] = ()
    junctions: Array = field(default_factory=lambda: np.zeros((0, 2)))
    crosswalks: Array = field(default_factory=lambda: np.zeros((0, 3)))
    lane_width: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """Light and atmosphere. ``sun_direction`` points to the sun; ``sun`` and ``ambient`` are multipliers, other colors
    are in 0..255. ``haze_m`` is the extinction distance in m."""

    sun_direction: tuple[float, float, float]
    sun: Color
    ambient: Color
    zenith: Color
    horizon: Color
    cloud: Color
    cloudiness: float
    haze_m: float
    glow: float
    wetness: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class World:
    """A recording without cameras: ``timestamps`` ``(T,)`` s, the path of the rig ``(T, 4, 4)`` and everything visible.

    The renderer samples textures from ``seed``; ``has_interior`` adds textures of floors and walls.
    """

    timestamps: Array
    ego_to_world: Array
    bodies: tuple[Body, ...]
    ground: Ground
    weather: Weather
    caption: str
    seed: int
    has_interior: bool = False
    lanes: tuple[Lane, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
