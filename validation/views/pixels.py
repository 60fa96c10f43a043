"""The pixels of the camera that is judged, in color, and the values of an image at points."""

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
    """Pixels in a 128th of an image's rows: finer things are blurred away where looks are compared.

    Of a strip that is much taller than wide it is told by the width. OpenCV takes minutes over the borders of an image
    that is far narrower than its kernel.
    """
    return min(height, 16 * width) / 128
