"""A world as plain arrays for the compiled renderer."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.simulation.mesh import Part
from driveforge.datasets.simulation.world import Body, Ground, Weather

_SHADOW_REACH_M = 70.0


class Textures(NamedTuple):
    """The atlas: flat texels, and (start, side) of each level of each texture ``(N, 10, 2)``."""

    texels: NDArray[np.uint8]
    levels: NDArray[np.int64]


class GroundTables(NamedTuple):
    """``Ground`` as plain arrays: bands are (edge, texture, tile), stripes (lateral, width, period, dash, r, g, b)."""

    coordinates: NDArray[np.float32]
    x0: float
    y0: float
    cell: float
    bands: Array
    stripes: Array
    junctions: Array
    crosswalks: Array
    lane_width: float
    asphalt: float
    noise: int


class Light(NamedTuple):
    """``Weather`` as plain arrays, and the noise texture of clouds."""

    sun_direction: Array
    sun: Array
    ambient: Array
    zenith: Array
    horizon: Array
    cloud: Array
    cloudiness: float
    haze_m: float
    noise: int


class Surfaces(NamedTuple):
    """Per face: part and texture index. Per part: tint, texture scale and offset along x, y, z, and glow."""

    face_part: NDArray[np.int64]
    face_texture: NDArray[np.int64]
    tint: Array
    scale: Array
    offset: Array
    glow: Array


class Scenery(NamedTuple):
    """The inputs of shading for one view.

    Per face: inverse-depth coefficients ``(F, 3)`` (see ``rasterizer``) and unit world normals ``(F, 3)``. Per part:
    ``world_to_part`` ``(P, 4, 4)``. ``shadows`` are from ``shadow_table``.
    """

    coefficients: Array
    normals: Array
    world_to_part: Array
    surfaces: Surfaces
    textures: Textures
    ground: GroundTables
    light: Light
    shadows: Array


def flatten_faces(parts: list[Part]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    corners: list[int] = []
    starts = [0]
    base = 0
    for part in parts:
        for face in part.faces:
            corners += [base + corner for corner in face]
            starts.append(len(corners))
        base += len(part.vertices)
    return np.array(corners, np.int64), np.array(starts, np.int64)


def surface_tables(parts: list[Part], index: Mapping[str, int]) -> Surfaces:
    scale, offset = np.ones((len(parts), 3)), np.zeros((len(parts), 3))
    for k, part in enumerate(parts):
        low, high = part.vertices.min(0), part.vertices.max(0)
        scale[k] = 1 / part.tile if part.tile else 1 / np.maximum(high - low, 1e-6)
        offset[k] = 0.0 if part.tile else -low * scale[k]
    return Surfaces(
        face_part=np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts]),
        face_texture=np.array([index[name] for part in parts for name in part.textures], np.int64),
        tint=np.array([part.tint for part in parts], np.float64).reshape(-1, 3),
        scale=scale,
        offset=offset,
        glow=np.zeros(len(parts)),
    )


def ground_tables(ground: Ground, index: Mapping[str, int]) -> GroundTables:
    bands = np.array([[band.edge, index[band.texture], band.tile] for band in ground.bands])
    stripes = np.array([[s.lateral, s.width, s.period, s.dash, *s.color] for s in ground.stripes]).reshape(-1, 7)
    return GroundTables(
        ground.coordinates, *ground.origin, ground.cell, bands, stripes, ground.junctions, ground.crosswalks,
        ground.lane_width, float(index["asphalt"]), index["noise"],
    )  # fmt: skip


def light_tables(weather: Weather, index: Mapping[str, int]) -> Light:
    direction = np.array(weather.sun_direction, np.float64)
    return Light(
        sun_direction=direction / np.linalg.norm(direction),
        sun=np.array(weather.sun, np.float64),
        ambient=np.array(weather.ambient, np.float64),
        zenith=np.array(weather.zenith, np.float64),
        horizon=np.array(weather.horizon, np.float64),
        cloud=np.array(weather.cloud, np.float64),
        cloudiness=weather.cloudiness,
        haze_m=weather.haze_m,
        noise=index["noise"],
    )


def shadow_table(bodies: tuple[Body, ...], poses: Array, eye: Array, weather: Weather) -> Array:
    """Soft shadows ``(N, 8)`` of the bodies near the camera position ``eye`` ``(2,)``; see ``shading._shadow``."""
    sun = np.array(weather.sun_direction[:2]) / max(weather.sun_direction[2], 0.25)
    depth = 0.35 + 0.3 * min(sum(weather.sun) / 3, 1.0)
    rows = []
    for body, body_to_world in zip(bodies, poses, strict=True):
        x, y, z = body_to_world[:3, 3]
        if body.casts_shadow and np.hypot(x - eye[0], y - eye[1]) < _SHADOW_REACH_M:
            length, width, height = body.size
            heading = np.arctan2(body_to_world[1, 0], body_to_world[0, 0])
            lift = max(z - (height / 2 if body.is_centered else 0), 0.0)
            drift = -sun * (0.2 * min(height, 3.0) * min(sum(weather.sun) / 3, 1.0) + lift)
            rows.append((x + drift[0], y + drift[1], np.cos(heading), np.sin(heading), length / 2, width / 2,
                         0.5 + 0.12 * min(height, 4.0) + 0.3 * lift, depth / (1 + 0.5 * lift)))  # fmt: skip
    return np.array(rows, np.float64).reshape(-1, 8)
