"""The pixels of the camera that is judged, in colour."""

import numpy as np
from numpy.typing import NDArray

from datasets.scene import Clip
from validation.view import reference_view


def reference_pixels(clip: Clip) -> NDArray[np.uint8]:
    """Frames ``(T, H, W, 3)`` RGB of the first calibrated camera (or the first), without held frames."""
    view = reference_view(clip)
    return clip.view(view.camera)[: view.num_frames]
