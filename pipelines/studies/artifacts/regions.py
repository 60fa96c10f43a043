"""Crops of image regions. They vary more than those of vehicles, so the network is trained on them too.

The views of a region cover the same part of the image, so the early one shows other content: it shows how sharp, noisy
and textured this camera and this weather look.
"""

import numpy as np

from driveforge.validation.learned.crops import CROP_PX, GAP, Crop, Window, cut_square, make_crop
from driveforge.validation.views.view import View

REGION_ROWS = 4
# Of the clip's length, from 0 to 1: two later frames.
REGION_TIMES = (0.7, 1.0)


def region_crops(view: View) -> list[Crop]:
    """Crops of a grid of regions over the image, in the frames of ``REGION_TIMES``."""
    height, width = view.gray.shape[1:]
    columns = round(REGION_ROWS * width / height)
    xs, ys = (np.linspace(0, side, n + 1).round().astype(int) for side, n in ((width, columns), (height, REGION_ROWS)))
    frames = [round(time * (view.num_frames - 1)) for time in REGION_TIMES]
    cells = [(i, j) for j in range(REGION_ROWS) for i in range(columns)]
    windows = [(int(xs[i]), int(ys[j]), int(xs[i + 1]), int(ys[j + 1])) for i, j in cells]
    return [_region_crop(view, frame, window) for frame in frames for window in windows]


def _region_crop(view: View, frame: int, window: Window) -> Crop:
    views = [cut_square(view.frames[t], window) for t in (frame, max(frame - GAP, 0), 0)]
    masks = np.full((CROP_PX, CROP_PX, 2), 255, np.uint8)
    return make_crop([*views, masks], frame, window, window, None)
