"""Checks of the arrays in records: shape, type, finite values and plausible ranges. Checked arrays are read-only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, is_rigid

# Recordings are far below these bounds; arithmetic on values within them cannot overflow.
MAX_COORDINATE_M = 1e9
MAX_SIDE_PX = 16384
MAX_TIME_S, MIN_STEP_S = 1e11, 1e-7
# In image sides: a field of view of 179 degrees, and one of 20 arc seconds.
MIN_FOCAL, MAX_INTRINSIC = 0.01, 1e4


_EXPECTED_VALUES: dict[type, tuple[str, str]] = {
    np.bool_: ("biu", "true or false"),
    np.float64: ("iuf", "numbers"),
    np.int64: ("iu", "integers"),
}


def freeze_array(array: Any, dtype: type, label: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """A read-only copy of ``array``; raises UserError if its shape is not ``shape`` (None is any length)."""
    given = as_array(array, label)
    kinds, expected_values = _EXPECTED_VALUES[dtype]
    if given.size and given.dtype.kind not in kinds:
        raise UserError(f"{label} must hold only {expected_values}")
    out: NDArray[Any] = np.array(given, dtype=dtype)
    if out.ndim != len(shape) or any(
        expected_size is not None and expected_size != size
        for expected_size, size in zip(shape, out.shape, strict=True)
    ):
        expected = "(" + ", ".join("*" if n is None else str(n) for n in shape) + ")"
        raise UserError(f"{label} must have shape {expected}, got {out.shape}")
    if out.dtype.kind == "f" and not np.isfinite(out).all():
        raise UserError(f"{label} holds NaN or infinite values")
    out.setflags(write=False)
    return out


def as_array(array: Any, label: str) -> NDArray[Any]:
    try:
        return np.asarray(array)
    except (TypeError, ValueError) as error:
        raise UserError(f"{label} must be a regular array: all rows must have the same length") from error


def check_meters(array: Any, label: str, shape: tuple[int | None, ...]) -> Array:
    out = freeze_array(array, np.float64, label, shape)
    if (np.abs(out) > MAX_COORDINATE_M).any():
        raise UserError(f"{label} exceeds {MAX_COORDINATE_M:.0e} m; is it in meters?")
    return out


def check_poses(array: Any, label: str, shape: tuple[int | None, ...]) -> Array:
    out = check_meters(array, label, shape)
    if not is_rigid(out):
        raise UserError(f"{label} must be rigid: a right-handed orthonormal rotation, and a last row of 0 0 0 1")
    return out


def _has_wrong_resolution(x: float, y: float) -> bool:
    """Whether the principal point ``(x, y)``, in image sides, suggests intrinsics of another resolution.

    It does if the point is far outside the image, or off center by the same factor in x and y: a crop can put it
    anywhere near the image, but rarely on the diagonal through the first pixel.
    """
    is_outside = not (-0.5 <= x <= 1.5 and -0.5 <= y <= 1.5)
    is_scaled = (max(x, y) < 0.375 or min(x, y) > 2 / 3) and abs(x - y) <= 0.15 * max(abs(x), abs(y))
    return is_outside or is_scaled


def check_intrinsics(intrinsics: Any, label: str, width: int, height: int) -> Array:
    k = freeze_array(intrinsics, np.float64, f"{label}: intrinsics", (3, 3))
    normalized = np.abs(k[:2]) / [[width], [height]]
    if k[0, 0] <= 0 or k[1, 1] <= 0 or not np.allclose([k[1, 0], *k[2]], [0, 0, 0, 1]):
        raise UserError(
            f"{label}: intrinsics must be [fx, skew, cx], [0, fy, cy], [0, 0, 1] with positive focal lengths fx and fy"
        )
    if min(normalized[0, 0], normalized[1, 1]) < MIN_FOCAL or normalized.max() > MAX_INTRINSIC:
        raise UserError(
            f"{label}: focal lengths {k[0, 0]:.3g}, {k[1, 1]:.3g} and principal point {k[0, 2]:.3g}, {k[1, 2]:.3g} "
            f"are not plausible for an image of {width}x{height} px; are the intrinsics in pixels?"
        )
    if _has_wrong_resolution(k[0, 2] / width, k[1, 2] / height):
        raise UserError(
            f"{label}: the principal point {k[0, 2]:.5g}, {k[1, 2]:.5g} does not fit an image of {width}x{height} px; "
            "are the intrinsics for another resolution?"
        )
    return k


def check_texts(values: Any, label: str) -> tuple[str, ...]:
    """``values`` as a tuple of strings; raises UserError if they are anything else."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{label} must be a list of strings")
    return tuple(values)
