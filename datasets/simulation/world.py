"""What the renderer draws: bodies in motion on a ground, under a sky."""

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
    """Something made of parts; ``poses`` is ``(T, 4, 4)``, or ``(1, 4, 4)`` where it stands still.

    A body with a ``category`` is a track of ``size`` (length, width, height) m, its box standing on the body's origin
    or, if ``is_centered``, centered on it. ``distance_walked`` ``(T,)`` is the distance in m that drives its swings;
    ``braking`` ``(T,)`` lights its brake lights.
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
    """A line painted ``lateral`` m left of the reference line, solid or with ``dash`` m painted in every ``period``."""

    lateral: float
    width: float
    color: Color
    period: float = 0.0
    dash: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Ground from the previous band's edge up to ``edge`` meters left of the reference line."""

    edge: float
    texture: str
    tile: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ground:
    """Flat ground at z = 0, told by road coordinates.

    ``coordinates`` ``(rows, columns, 2)`` float32 holds (lateral, along) meters on a square grid of ``cell`` meters
    that starts at ``origin``; the last band goes on for ever. ``junctions`` ``(J, 2)`` are (center, half width) along
    the road where a street crosses; ``crosswalks`` ``(Z, 3)`` are (start, end, half length across); ``lane_width``
    spaces the wheel tracks, 0 is none.
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
    """Light and air. Colors are multipliers (``sun``, ``ambient``) or 0..255; ``sun_direction`` points to the sun."""

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
    """Everything but the cameras' make: times ``(T,)`` s, the rig's path ``(T, 4, 4)`` and what there is to see.

    Textures are drawn from ``seed`` when the world is first looked at; ``has_interior`` adds a floor and wallpaper.
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
