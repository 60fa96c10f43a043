"""Rain effects in image space: reflections on the wet street, and rain streaks."""

import numba
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array

_NUM_STREAKS_PER_PIXEL = 0.004


def add_rain(image: Array, bodies: NDArray[np.bool_], gloss: Array, seed: int, t: int, wetness: float) -> Array:
    """``image`` ``(H, W, 3)`` with reflections of the pixels in ``bodies`` ``(H, W)``, and the streaks of frame ``t``.

    ``gloss`` ``(H, W)`` in 0..1 is the reflectance of the ground, 0 for pixels that are not ground.
    """
    out = image.copy()
    _mirror(image, bodies, gloss, out, 0.45 * wetness)
    rng = np.random.default_rng((seed, t))
    height, width = image.shape[:2]
    for _ in range(int(_NUM_STREAKS_PER_PIXEL * height * width * wetness)):
        x, y, length = rng.uniform(0, width), rng.uniform(-0.1 * height, height), rng.uniform(0.03, 0.09) * height
        rows = np.arange(max(int(y), 0), min(int(y + length), height))
        columns = np.clip((x + 0.12 * (rows - y)).astype(int), 0, width - 1)
        out[rows, columns] += 0.16 * (205 - out[rows, columns])
    return out


@numba.njit(cache=True, nogil=True)
def _mirror(image, bodies, gloss, out, strength):  # type: ignore[no-untyped-def]
    """Mirror each column at the foot of the body above a ground pixel, if there is one."""
    height, width = bodies.shape
    for x in range(width):
        foot = -1
        for y in range(height):
            if bodies[y, x]:
                foot = y
            elif gloss[y, x] == 0:
                foot = -1
            elif foot >= 0:
                source = 2 * foot + 1 - y
                if source >= 0 and y - foot < 0.35 * height:
                    fade = gloss[y, x] * strength * (1 - (y - foot) / (0.35 * height))
                    for c in range(3):
                        out[y, x, c] += fade * (image[source, x, c] - image[y, x, c])
