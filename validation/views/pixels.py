"""The pixels of the reference view, values of an image at points, and the scale of blur."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.validation.views.view import reference_view

_T = TypeVar("_T", bound=np.generic)


def reference_pixels(clip: Clip) -> NDArray[np.uint8]:
    """Frames ``(T, H, W, 3)`` RGB of the first calibrated camera (or the first), without held frames."""
    view = reference_view(clip)
    return clip.view(view.camera)[: view.num_frames]


def values_at(image: NDArray[_T], points: NDArray[np.float32]) -> NDArray[_T]:
    """Values ``(N, ...)`` of an image ``(H, W, ...)`` at the pixels nearest to ``points`` ``(N, 2)``."""
    height, width = image.shape[:2]
    x, y = np.round(points).astype(int).T
    return np.asarray(image[y.clip(0, height - 1), x.clip(0, width - 1)])


def blur_scale(height: int, width: int) -> float:
    """A 128th of the image's rows in pixels: finer structure is blurred before appearance is compared.

    For a strip that is much taller than wide it depends on the width, since OpenCV is very slow if the kernel is much
    wider than the image.
    """
    return min(height, 16 * width) / 128
