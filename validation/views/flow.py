"""Dense optical flow between two frames: dense inverse search, backward warping, and the visibility check."""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # (H, W, 3) RGB
Flow = NDArray[np.float32]  # (H, W, 2): displacement of each pixel from the first to the second frame, x and y in px
FlowEstimator = Callable[[Frame, Frame], Flow]

MIN_SIDE = 16  # px: smaller images are too small for the pyramid of dense inverse search
# Of the longer side: the pyramid of OpenCV has as many levels as the longer side allows, and its coarsest level must
# hold one patch of 8 px along the shorter side too, or the search reads beyond the image.
MIN_SIDE_RATIO = 0.4


def dis_flow(before: Frame, after: Frame) -> Flow:
    """Flow ``(H, W, 2)`` px by dense inverse search (Kroeger et al., ECCV 2016), on gray values.

    Images that are too small or too narrow for it are continued beyond their right and lower edge.
    """
    rows, columns = before.shape[:2]
    below, right = (needed - side for needed, side in zip(flow_size(rows, columns), (rows, columns), strict=True))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after))
    padded = [cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE) for image in gray]
    return np.asarray(search.calc(padded[0], padded[1], None)[:rows, :columns], np.float32)


def flow_size(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of an image that dense inverse search can process: both sides enlarged as needed."""
    least = max(MIN_SIDE, math.ceil(MIN_SIDE_RATIO * max(rows, columns)))
    return max(rows, least), max(columns, least)


def warp(image: NDArray[np.uint8] | NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Backward warping of ``image`` ``(H, W, C)``: out(x) = image(x + flow(x)), with replicated edges."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    source = np.asarray(image, np.float32)
    return np.asarray(
        cv2.remap(source, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


def is_visible(forward: Flow, backward: Flow) -> NDArray[np.bool_]:
    """``(H, W)``: pixels of the first frame that are visible in the second one and away from motion boundaries.

    The forward-backward check of Sundaram et al. (ECCV 2010) with the constants of Ruder et al. (GCPR 2016, eq. 5, 6):
    |w + w'|² < 0.01 (|w|² + |w'|²) + 0.5 with w' the backward flow at x + w, and |∇w|² < 0.01 |w|² + 0.002.
    """
    height, width = forward.shape[:2]
    back = warp(backward, forward)
    size = (forward**2).sum(-1)
    returns = ((forward + back) ** 2).sum(-1) <= 0.01 * (size + (back**2).sum(-1)) + 0.5
    across = np.diff(forward, axis=1, append=forward[:, -1:])
    down = np.diff(forward, axis=0, append=forward[-1:])
    smooth = (across**2).sum(-1) + (down**2).sum(-1) <= 0.01 * size + 0.002
    x, y = np.arange(width) + forward[..., 0], np.arange(height)[:, None] + forward[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return np.asarray(returns & smooth & inside)
