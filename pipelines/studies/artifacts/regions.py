"""Crops of image regions for the artifact network: overlapping squares in two later frames.

The views of a region cover the same part of the image, so the early one shows other content: it shows how sharp, noisy
and textured this camera and this weather look.
"""

import numpy as np

from driveforge.validation.learned.crops import CROP_PX, GAP, Crop, Window, cut_square, make_crop
from driveforge.validation.views.view import View

NUM_ROWS = 3
SIDE_SHARE = 5 / 12  # of the image's height
# Of the clip's length, from 0 to 1.
TIMES = (0.6, 1.0)


def region_crops(view: View) -> list[Crop]:
    """Crops of a grid of squares that covers the image, in the frames of ``TIMES``."""
    frames = [round(time * (view.num_frames - 1)) for time in TIMES]
    windows = region_windows(view.gray.shape[1], view.gray.shape[2])
    return [_region_crop(view, frame, window) for frame in frames for window in windows]


def region_windows(height: int, width: int) -> list[Window]:
    """Squares in ``NUM_ROWS`` rows and about the same distance between columns, row by row."""
    side = min(round(SIDE_SHARE * height), width)
    num_columns = 1 + round((width - side) * (NUM_ROWS - 1) / (height - side))
    xs, ys = (
        np.linspace(0, length - side, n).round().astype(int).tolist()
        for length, n in ((width, num_columns), (height, NUM_ROWS))
    )
    return [(x, y, x + side, y + side) for y in ys for x in xs]


def _region_crop(view: View, frame: int, window: Window) -> Crop:
    views = [cut_square(view.frames[t], window) for t in (frame, max(frame - GAP, 0), 0)]
    masks = np.full((CROP_PX, CROP_PX, 2), 255, np.uint8)
    return make_crop([*views, masks], frame, window, window, None)
