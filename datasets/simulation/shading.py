"""Shading: textures, ground, sky and haze.

All functions are compiled; colors are floats in 0..255. Textures are filtered trilinearly over the mip pyramid
(Williams 1983), with two taps along the viewing direction on the ground. Road markings are box-filtered analytically,
which avoids flicker.
"""

import numba
import numpy as np

from driveforge.datasets.simulation.atlas import CHANNELS

_LEVELS = 10
_CLOUD_SPAN = 0.18


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bilinear(textures, texture, level, u, v, weight, channels, out):  # type: ignore[no-untyped-def]
    """Add ``weight`` times the bilinear sample at (u, v), in repeats, of one mip level to ``out``."""
    start = textures.levels[texture, level, 0]
    side = textures.levels[texture, level, 1]
    x, y = u * side - 0.5, v * side - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    wx, wy = x - x0, y - y0
    mask = side - 1  # sides are powers of two, so & mask wraps indices
    row0, row1 = start + (y0 & mask) * side * CHANNELS, start + ((y0 + 1) & mask) * side * CHANNELS
    left, right = (x0 & mask) * CHANNELS, ((x0 + 1) & mask) * CHANNELS
    w00, w01 = weight * (1 - wx) * (1 - wy), weight * wx * (1 - wy)
    w10, w11 = weight * (1 - wx) * wy, weight * wx * wy
    texels = textures.texels
    for c in range(channels):
        out[c] += (w00 * texels[row0 + left + c] + w01 * texels[row0 + right + c]
                   + w10 * texels[row1 + left + c] + w11 * texels[row1 + right + c])  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sample(textures, texture, u, v, footprint, weight, channels, out):  # type: ignore[no-untyped-def]
    """Add ``weight`` times the texture at (u, v), filtered over ``footprint`` (both in repeats), to ``out``.

    Only the first ``channels`` are sampled. The mip level is log2 of the footprint in texels of level 0.
    """
    level = np.log2(max(footprint * textures.levels[texture, 0, 1], 1.0))
    low = min(int(level), _LEVELS - 1)
    part = level - low
    if part < 0.02 or low == _LEVELS - 1:
        _bilinear(textures, texture, low, u, v, weight, channels, out)
    else:
        _bilinear(textures, texture, low, u, v, weight * (1 - part), channels, out)
        _bilinear(textures, texture, low + 1, u, v, weight * part, channels, out)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tone(textures, texture, u, v, footprint, scratch):  # type: ignore[no-untyped-def]
    """The first channel in 0..1 from the nearest mip level, for soft noise."""
    level = min(int(np.log2(max(footprint * textures.levels[texture, 0, 1], 1.0)) + 0.5), _LEVELS - 1)
    scratch[0] = 0.0
    _bilinear(textures, texture, level, u, v, 1 / 255, 1, scratch)
    return scratch[0]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sky_color(direction, light, textures, scratch, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` ``(5,)`` with the sky (gradient, clouds, hills) along a world direction, which is normalized."""
    direction /= np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
    up = max(direction[2], 0.0)
    blend = 1 - np.exp(-4.0 * up)
    towards_sun = max(direction[0] * light.sun_direction[0] + direction[1] * light.sun_direction[1], 0.0)
    warm = towards_sun**4 * np.exp(-6.0 * up)
    for c in range(3):
        out[c] = light.horizon[c] * (1 - blend) + light.zenith[c] * blend
    plane = _CLOUD_SPAN / (up + 0.12)
    cloud = _tone(textures, light.noise, direction[0] * plane, direction[1] * plane, 0.02 * plane, scratch)
    cover = min(max((cloud - 1 + light.cloudiness) * 2.2, 0.0), 1.0) * min(up * 9, 1.0)
    for c in range(3):
        out[c] += cover * (light.cloud[c] - out[c])
        out[c] += warm * (light.sun[c] * 150 - 60)
    azimuth = np.arctan2(direction[1], direction[0]) / (2 * np.pi)
    hill = 0.015 + 0.06 * max(_tone(textures, light.noise, azimuth * 2, 0.37, 0.01, scratch) - 0.35, 0.0)
    if direction[2] < hill:
        mix = min((hill - direction[2]) * 150, 1.0) * 0.5
        for c in range(3):
            out[c] += mix * (light.ambient[c] * (70, 85, 80)[c] - out[c])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _pulse_integral(x, period, dash):  # type: ignore[no-untyped-def]
    """Painted length from 0 to ``x`` of a dashed line with ``dash`` painted in every ``period``."""
    whole = np.floor(x / period)
    return whole * dash + min(x - whole * period, dash)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _coverage(distance, half_width, footprint):  # type: ignore[no-untyped-def]
    """Fraction of an interval of length ``footprint``, centered at ``distance``, within ``half_width`` of zero."""
    low = max(distance - footprint / 2, -half_width)
    high = min(distance + footprint / 2, half_width)
    return max(high - low, 0.0) / footprint


@numba.njit(cache=True, nogil=True, error_model="numpy")
def road_coordinates(ground, x, y, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` ``(4,)`` with lateral, along, and the unit gradient of lateral in x and y."""
    gx, gy = (x - ground.x0) / ground.cell, (y - ground.y0) / ground.cell
    rows, columns = ground.coordinates.shape[0], ground.coordinates.shape[1]
    i = min(max(int(gy), 0), rows - 2)
    j = min(max(int(gx), 0), columns - 2)
    a, b = min(max(gx - j, 0.0), 1.0), min(max(gy - i, 0.0), 1.0)
    for k in range(2):
        p, q = ground.coordinates[i, j, k], ground.coordinates[i, j + 1, k]
        r, s = ground.coordinates[i + 1, j, k], ground.coordinates[i + 1, j + 1, k]
        out[k] = (p * (1 - a) + q * a) * (1 - b) + (r * (1 - a) + s * a) * b
        if k == 0:
            dx, dy = (q - p) * (1 - b) + (s - r) * b, (r - p) * (1 - a) + (s - q) * a
            norm = np.sqrt(dx * dx + dy * dy) + 1e-9
            out[2], out[3] = dx / norm, dy / norm


@numba.njit(cache=True, nogil=True, error_model="numpy")
def band_at(ground, lateral, along):  # type: ignore[no-untyped-def]
    """Index of the ground band at road coordinates, or -1 in a junction."""
    for k in range(len(ground.junctions)):
        if abs(along - ground.junctions[k, 0]) < ground.junctions[k, 1]:
            return -1
    for k in range(len(ground.bands)):
        if lateral < ground.bands[k, 0]:
            return k
    return len(ground.bands) - 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _shadow(x, y, shadows):  # type: ignore[no-untyped-def]
    """Fraction of light that reaches the ground at (x, y).

    Rows of ``shadows`` are (x, y, cos, sin, half length, half width, softness, depth) of rectangles with soft edges.
    """
    left = 1.0
    for k in range(len(shadows)):
        dx, dy = x - shadows[k, 0], y - shadows[k, 1]
        reach = shadows[k, 4] + shadows[k, 5] + shadows[k, 6]
        if abs(dx) > reach or abs(dy) > reach:
            continue
        along = abs(shadows[k, 2] * dx + shadows[k, 3] * dy) - shadows[k, 4]
        across = abs(shadows[k, 2] * dy - shadows[k, 3] * dx) - shadows[k, 5]
        # Signed distance to the rectangle: positive outside, negative inside.
        outside = np.sqrt(max(along, 0.0) ** 2 + max(across, 0.0) ** 2) + min(max(along, across), 0.0)
        edge = min(max(0.5 - outside / shadows[k, 6], 0.0), 1.0)
        left *= 1 - shadows[k, 7] * edge * edge * (3 - 2 * edge)
    return left


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint_lines(ground, road, wear, across, lengthwise, out):  # type: ignore[no-untyped-def]
    """Blend stripes and crosswalks into ``out``.

    ``across`` and ``lengthwise`` are the extents of the pixel on the road in meters; ``wear`` is the opacity of paint.
    """
    lateral, along = road[0], road[1]
    for k in range(len(ground.stripes)):
        share = _coverage(lateral - ground.stripes[k, 0], ground.stripes[k, 1] / 2, across)
        if share <= 0:
            continue
        if ground.stripes[k, 2] > 0:
            start, stop = along - lengthwise / 2, along + lengthwise / 2
            period, dash = ground.stripes[k, 2], ground.stripes[k, 3]
            share *= (_pulse_integral(stop, period, dash) - _pulse_integral(start, period, dash)) / lengthwise
        for c in range(3):
            out[c] += share * wear * (ground.stripes[k, 4 + c] - out[c])
    for k in range(len(ground.crosswalks)):
        middle = (ground.crosswalks[k, 0] + ground.crosswalks[k, 1]) / 2
        half = (ground.crosswalks[k, 1] - ground.crosswalks[k, 0]) / 2
        share = _coverage(along - middle, half, lengthwise)
        if share > 0 and abs(lateral) < ground.crosswalks[k, 2]:
            low, high = lateral - across / 2, lateral + across / 2
            share *= (_pulse_integral(high, 1.1, 0.55) - _pulse_integral(low, 1.1, 0.55)) / across
            for c in range(3):
                out[c] += share * wear * (215 - out[c])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def ground_color(origin, direction, pixel, ground, light, shadows, textures, road, scratch, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` ``(5,)`` with the ground along ``direction`` (world, camera depth 1) and return its depth in m.

    ``pixel`` is the angle of a pixel in rad, 1 / focal length.
    """
    depth = -origin[2] / direction[2]
    x, y = origin[0] + depth * direction[0], origin[1] + depth * direction[1]
    flat = np.sqrt(direction[0] ** 2 + direction[1] ** 2) + 1e-9
    # A pixel covers an ellipse on the ground: ``near`` across the viewing direction, ``far`` along it.
    near = depth * pixel
    far = near * max(flat / -direction[2], 1.0)
    ux, uy = direction[0] / flat, direction[1] / flat
    road_coordinates(ground, x, y, road)
    lateral, along = road[0], road[1]
    # The angle between viewing direction and road rotates the ellipse into extents across and along the road.
    facing = abs(ux * road[2] + uy * road[3])
    sideways = np.sqrt(max(1 - facing * facing, 0.0))
    across = np.sqrt((far * facing) ** 2 + (near * sideways) ** 2)
    lengthwise = np.sqrt((far * sideways) ** 2 + (near * facing) ** 2)
    band = band_at(ground, lateral, along)
    texture, tile = (ground.bands[band, 1], ground.bands[band, 2]) if band >= 0 else (ground.asphalt, 9.0)
    out[:] = 0.0
    spread = min(far, 40.0) / 4
    for tap in range(-1, 2, 2):
        shift = tap * spread
        sample(textures, int(texture), (x + shift * ux) / tile, (y + shift * uy) / tile,
               max(near, 1.6 * spread) / tile, 0.5, 3, out)  # fmt: skip
    stain = _tone(textures, ground.noise, x / 13.7, y / 13.7, far / 13.7, scratch)
    tone = 0.72 + 0.34 * _tone(textures, ground.noise, x / 61, y / 61, far / 61, scratch) + 0.22 * stain
    on_road = texture == ground.asphalt
    if on_road and ground.lane_width > 0 and band >= 0:
        wave = np.cos(4 * np.pi * lateral / ground.lane_width)
        tone *= 1 + 0.05 * wave * min(1.0, 0.8 / across)
    for c in range(3):
        out[c] *= tone
    if on_road and band >= 0:
        _paint_lines(ground, road, min(0.55 + 0.6 * stain, 0.95), across, lengthwise, out)
    shade = _shadow(x, y, shadows)
    for c in range(3):
        out[c] *= light.ambient[c] + light.sun[c] * light.sun_direction[2] * shade
        out[c] *= 0.35 + 0.65 * shade
    return depth


@numba.njit(cache=True, nogil=True, error_model="numpy")
def haze(out, depth, light):  # type: ignore[no-untyped-def]
    """Blend a color with the horizon color by atmospheric extinction over ``depth`` m."""
    clear = np.exp(-((max(depth, 0.0) / light.haze_m) ** 1.5))
    for c in range(3):
        out[c] = out[c] * clear + light.horizon[c] * (1 - clear)
