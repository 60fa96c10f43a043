"""Pixel shading with 4x multisampling: one shading sample if all four sub-pixels show the same surface, else four."""

import numba
import numpy as np

from driveforge.datasets.simulation.atlas import CHANNELS
from driveforge.datasets.simulation.rasterizer import NO_FACE, SUBSAMPLES
from driveforge.datasets.simulation.shading import band_at, ground_color, haze, road_coordinates, sample, sky_color

_GROUND = -2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cast_ray(direction, rotation, k, u, v):  # type: ignore[no-untyped-def]
    """Fill ``direction`` with the world-frame ray through pixel (u, v), scaled to camera depth 1."""
    a, b = (u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]
    for i in range(3):
        direction[i] = rotation[i, 0] * a + rotation[i, 1] * b + rotation[i, 2]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def face_normals(points, corners, face_start):  # type: ignore[no-untyped-def]
    """Unit outward normals ``(F, 3)`` of the faces, in the frame of ``points`` (Newell's method)."""
    out = np.zeros((len(face_start) - 1, 3))
    for face in range(len(out)):
        first, last = face_start[face], face_start[face + 1]
        for i in range(first, last):
            a = points[corners[i]]
            b = points[corners[i + 1 if i + 1 < last else first]]
            out[face, 0] += (a[1] - b[1]) * (a[2] + b[2])
            out[face, 1] += (a[2] - b[2]) * (a[0] + b[0])
            out[face, 2] += (a[0] - b[0]) * (a[1] + b[1])
        out[face] /= np.sqrt((out[face] ** 2).sum()) + 1e-12
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _face_color(face, depth, direction, origin, pixel, normal, world_to_part, surfaces, textures, light, uvw, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the shaded texture of a face, hit at ``depth`` along ``direction`` (world, camera depth 1)."""
    part = surfaces.face_part[face]
    m = world_to_part[part]
    steepest, axis = -1.0, 0
    for k in range(3):
        uvw[k] = m[k, 3]
        turned = 0.0
        for j in range(3):
            uvw[k] += m[k, j] * (origin[j] + depth * direction[j])
            turned += m[k, j] * normal[j]
        uvw[k] = uvw[k] * surfaces.scale[part, k] + surfaces.offset[part, k]
        if abs(turned) > steepest + 1e-6:
            steepest, axis = abs(turned), k
    # Triplanar mapping: the texture is projected along the part axis closest to the normal, onto the other two axes.
    i, j = 0, 1
    if axis == 0:
        i, j = 1, 2
    elif axis == 1:
        i, j = 0, 2
    length = np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
    towards = normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2]
    # The cosine of the viewing angle. The pixel footprint grows with its inverse along one axis of the surface; the
    # square root is the geometric mean of both axes.
    facing = max(-towards / length, 0.08)
    footprint = depth * pixel * max(surfaces.scale[part, i], surfaces.scale[part, j]) / np.sqrt(facing)
    out[:] = 0.0
    sample(textures, surfaces.face_texture[face], uvw[i], 1 - uvw[j], footprint, 1.0, CHANNELS, out)
    sun = light.sun_direction
    lambert = max(normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2], 0.0)
    overhead = 0.78 + 0.22 * normal[2]
    shine = out[4] / 255 * surfaces.glow[part]
    for c in range(3):
        albedo = out[c] * (1 + out[3] / 255 * (surfaces.tint[part, c] - 1))
        lit = light.ambient[c] * overhead + light.sun[c] * lambert
        out[c] = albedo * (lit * (1 - min(shine, 1.0) * 0.6) + shine)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _classify(face_ids, x, y, ground, rotation, origin, k, direction, road, labels):  # type: ignore[no-untyped-def]
    """Fill ``labels`` ``(4,)`` with what each sub-pixel shows.

    A label >= 0 is a face, NO_FACE (-1) is sky, and ``_GROUND - 1 - b`` is ground band ``b`` (b = -1: a junction).
    """
    for i in range(len(labels)):
        row, column = y * SUBSAMPLES + i // SUBSAMPLES, x * SUBSAMPLES + i % SUBSAMPLES
        labels[i] = face_ids[row, column]
        if labels[i] == NO_FACE:
            _cast_ray(direction, rotation, k, (column + 0.5) / SUBSAMPLES - 0.5, (row + 0.5) / SUBSAMPLES - 0.5)
            if direction[2] < -1e-4:
                depth = -origin[2] / direction[2]
                road_coordinates(ground, origin[0] + depth * direction[0], origin[1] + depth * direction[1], road)
                labels[i] = _GROUND - 1 - band_at(ground, road[0], road[1])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def shade(face_ids, scenery, camera_to_world, k, height, width):  # type: ignore[no-untyped-def]
    """Image ``(H, W, 3)`` float64 in 0..255, and the reflectance ``(H, W)`` of wet ground in 0..1."""
    # Tables are unpacked once and passed one by one: passing a tuple costs a reference count per array.
    coefficients, normals, world_to_part, surfaces, textures, ground, light, shadows = scenery
    image, gloss = np.zeros((height, width, 3)), np.zeros((height, width))
    rotation, origin, pixel = camera_to_world[:3, :3].copy(), camera_to_world[:3, 3].copy(), 1 / k[0, 0]
    direction, road, color, scratch = np.empty(3), np.empty(4), np.empty(CHANNELS), np.empty(CHANNELS)
    labels = np.empty(SUBSAMPLES * SUBSAMPLES, np.int64)
    for y in range(height):
        for x in range(width):
            _classify(face_ids, x, y, ground, rotation, origin, k, direction, road, labels)
            if labels[0] <= _GROUND:
                band = _GROUND - 1 - labels[0]
                gloss[y, x] = 1.0 if band < 0 or ground.bands[band, 1] == ground.asphalt else 0.25
            is_uniform = labels[0] == labels[1] and labels[0] == labels[2] and labels[0] == labels[3]
            samples = 1 if is_uniform else len(labels)
            for i in range(samples):
                u = float(x) if is_uniform else x + (i % SUBSAMPLES + 0.5) / SUBSAMPLES - 0.5
                v = float(y) if is_uniform else y + (i // SUBSAMPLES + 0.5) / SUBSAMPLES - 0.5
                _cast_ray(direction, rotation, k, u, v)
                if labels[i] >= 0:
                    a, b, c = coefficients[labels[i]]
                    depth = 1 / max(a * u + b * v + c, 1e-6)
                    _face_color(labels[i], depth, direction, origin, pixel, normals[labels[i]], world_to_part, surfaces,
                                 textures, light, scratch, color)  # fmt: skip
                    haze(color, depth, light)
                elif labels[i] <= _GROUND and direction[2] < -1e-5:
                    depth = ground_color(
                        origin, direction, pixel, ground, light, shadows, textures, road, scratch, color
                    )
                    haze(color, depth, light)
                else:
                    sky_color(direction, light, textures, scratch, color)
                for c in range(3):
                    image[y, x, c] += color[c] / samples
    return image, gloss
