"""Rasterization: the visible face at each sub-pixel.

Faces are clipped at the near plane, projected, and scan-converted with a z-buffer of inverse depths, which are affine
in image coordinates (Heckbert and Moreton 1991). Back faces are culled.
"""

import numba
import numpy as np

NEAR_M = 0.12
SUBSAMPLES = 2
NO_FACE = -1
_MAX_CORNERS = 24


@numba.njit(cache=True, nogil=True, error_model="numpy")
def to_camera(vertices, vertex_part, part_to_camera):  # type: ignore[no-untyped-def]
    """Camera-frame vertices ``(N, 3)``."""
    out = np.empty((len(vertices), 3))
    for i in range(len(vertices)):
        m = part_to_camera[vertex_part[i]]
        for k in range(3):
            out[i, k] = m[k, 0] * vertices[i, 0] + m[k, 1] * vertices[i, 1] + m[k, 2] * vertices[i, 2] + m[k, 3]
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clip_near(points, corners, first, count, polygon):  # type: ignore[no-untyped-def]
    """Clip a face at the near plane into ``polygon`` and return the number of its corners."""
    kept = 0
    for i in range(count):
        a = points[corners[first + i]]
        b = points[corners[first + (i + 1) % count]]
        if a[2] >= NEAR_M:
            polygon[kept] = a
            kept += 1
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            w = (NEAR_M - a[2]) / (b[2] - a[2])
            for k in range(3):
                polygon[kept, k] = a[k] + w * (b[k] - a[k])
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _plane(points, corners, first, count, normal):  # type: ignore[no-untyped-def]
    """Fill the outward normal n (Newell's method) and return the offset n.p; the face is front-facing if it is < 0."""
    normal[:] = 0.0
    for i in range(count):
        a = points[corners[first + i]]
        b = points[corners[first + (i + 1) % count]]
        normal[0] += (a[1] - b[1]) * (a[2] + b[2])
        normal[1] += (a[2] - b[2]) * (a[0] + b[0])
        normal[2] += (a[0] - b[0]) * (a[1] + b[1])
    p = points[corners[first]]
    return normal[0] * p[0] + normal[1] * p[1] + normal[2] * p[2]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _span(polygon, count, y):  # type: ignore[no-untyped-def]
    """Left and right end of a convex polygon at row ``y``."""
    left, right = np.inf, -np.inf
    for i in range(count):
        j = (i + 1) % count
        y0, y1 = polygon[i, 1], polygon[j, 1]
        if (y0 <= y) != (y1 <= y):
            x = polygon[i, 0] + (y - y0) / (y1 - y0) * (polygon[j, 0] - polygon[i, 0])
            left, right = min(left, x), max(right, x)
    return left, right


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rasterize(points, corners, face_start, fx, fy, cx, cy, height, width):  # type: ignore[no-untyped-def]
    """Face ids ``(2 H, 2 W)`` int32 of the sub-pixels, NO_FACE if empty, and inverse-depth coefficients ``(F, 3)``.

    The inverse depth of a face at pixel (u, v) is ``c[0] u + c[1] v + c[2]``.
    """
    rows, columns = height * SUBSAMPLES, width * SUBSAMPLES
    face_ids = np.full((rows, columns), NO_FACE, np.int32)
    nearest = np.zeros((rows, columns))
    coefficients = np.zeros((len(face_start) - 1, 3))
    polygon = np.empty((_MAX_CORNERS, 3))
    normal = np.empty(3)
    for face in range(len(face_start) - 1):
        first = face_start[face]
        count = face_start[face + 1] - first
        offset = _plane(points, corners, first, count, normal)
        if offset >= -1e-12:
            continue
        kept = _clip_near(points, corners, first, count, polygon)
        if kept < 3:
            continue
        top, bottom = np.inf, -np.inf
        for i in range(kept):
            polygon[i, 0] = (fx * polygon[i, 0] / polygon[i, 2] + cx + 0.5) * SUBSAMPLES - 0.5
            polygon[i, 1] = (fy * polygon[i, 1] / polygon[i, 2] + cy + 0.5) * SUBSAMPLES - 0.5
            top, bottom = min(top, polygon[i, 1]), max(bottom, polygon[i, 1])
        # A plane n.p = o with p = z ((u - cx) / fx, (v - cy) / fy, 1) gives 1 / z = n.((u - cx) / fx, ..., 1) / o.
        a, b = normal[0] / (fx * offset), normal[1] / (fy * offset)
        c = normal[2] / offset - a * cx - b * cy
        coefficients[face] = a, b, c
        for y in range(max(0, int(np.ceil(top))), min(rows - 1, int(np.floor(bottom))) + 1):
            left, right = _span(polygon, kept, y)
            if left > right:
                continue
            v = (y + 0.5) / SUBSAMPLES - 0.5
            for x in range(max(0, int(np.ceil(left))), min(columns - 1, int(np.floor(right))) + 1):
                inverse_depth = a * ((x + 0.5) / SUBSAMPLES - 0.5) + b * v + c
                if inverse_depth > nearest[y, x]:
                    nearest[y, x] = inverse_depth
                    face_ids[y, x] = face
    return face_ids, coefficients
