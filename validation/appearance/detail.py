"""Detail that surfaces lose or gain over time, followed along the optical flow.

Generated clips lose detail from frame to frame: surfaces become smooth, and regions dissolve into clouds or flat
blocks. The log detail of a pixel is the mean of log(1 + abs(Laplacian)) over its neighborhood: a geometric mean, so
that flat blocks with sharp edges have little of it. Between two frames the detail of a surface changes by

    log detail(later, x) - log detail(earlier, x + flow(x)) + ZOOM * log s(x),

where s is the local magnification by the flow: a surface that comes nearer shows less detail per pixel. The changes add
up along the flow for as long as a surface is in view, so that only surfaces are compared, and not what is in the same
place of the image.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.records import Measure, make_measure
from driveforge.validation.views.flow import flow_size

STRIDE = 2  # frames from one comparison to the next
WINDOW_SHARE = 0.05  # of the rows: the neighborhood of a pixel
FLOW_ROWS = 128  # flow and detail are computed on images of at most this height
# Exponent of the magnification: between 0 (fractal surfaces look alike at every distance) and 1 (smooth ones); found on
# simulated drives, whose median change it makes close to 0.
ZOOM = 0.4
ZOOM_WINDOW = 9  # px of the smaller image
MAX_ZOOM = 3.0
REGION_ROWS, REGION_COLUMNS = 7, 12
WORST_REGIONS = 0.1  # quantile of the regions

Image = NDArray[np.uint8]
Map = NDArray[np.float32]
_T = TypeVar("_T", np.uint8, np.float32)


def detail_measures(tracked: TrackedView) -> list[Measure]:
    """The loss of the whole image, the loss of its worst regions, and the gain of the whole image.

    Each is the change of log detail up to the worst frame, at least 0: 0.7 means that half of the detail is lost (or
    that it doubled).
    """
    frames, changes = zip(*_accumulate_changes(tracked.view.gray), strict=True)
    whole = [float(np.median(change)) for change in changes]
    regions = [
        float(
            np.quantile(cv2.resize(change, (REGION_COLUMNS, REGION_ROWS), interpolation=cv2.INTER_AREA), WORST_REGIONS)
        )
        for change in changes
    ]
    return [
        _largest("detail_loss", [-value for value in whole], frames),
        _largest("detail_loss_region", [-value for value in regions], frames),
        _largest("detail_gain", whole, frames),
    ]


def _largest(name: str, logs: Sequence[float], frames: Sequence[int]) -> Measure:
    worst = int(np.argmax(logs))
    return make_measure(name, max(logs[worst], 0.0), (0, frames[worst]))


def _accumulate_changes(gray: Image) -> Iterator[tuple[int, Map]]:
    """By frame, the change of log detail ``(h, w)`` of every surface since it came into view."""
    height, width = gray.shape[1:]
    scale = min(1.0, FLOW_ROWS / height)
    size = flow_size(round(height * scale), round(width * scale))[::-1]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    columns, rows = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    before, detail_before = _shrink(gray[0], size), _log_detail(gray[0], size)
    change = np.zeros(size[::-1], np.float32)
    for t in sorted({*range(STRIDE, len(gray), STRIDE), len(gray) - 1}):
        after, detail = _shrink(gray[t], size), _log_detail(gray[t], size)
        flow = search.calc(after, before, None)
        x, y = columns + flow[..., 0], rows + flow[..., 1]
        came_into_view = (x < 0) | (x > size[0] - 1) | (y < 0) | (y > size[1] - 1)
        step = detail - _sample(detail_before, x, y) + ZOOM * _log_magnification(flow)
        change = np.where(came_into_view, 0.0, _sample(change, x, y) + step).astype(np.float32)
        before, detail_before = after, detail
        yield t, change


def _log_detail(gray: Image, size: tuple[int, int]) -> Map:
    side = max(5, round(WINDOW_SHARE * len(gray))) | 1
    laplacian = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    return _shrink(cv2.blur(np.log1p(laplacian), (side, side)), size)


def _log_magnification(flow: Map) -> Map:
    """log s of a flow from the later frame to the earlier one: half of minus the log of its area ratio."""
    smooth = cv2.blur(flow, (ZOOM_WINDOW, ZOOM_WINDOW))
    dx_x, dx_y = np.gradient(smooth[..., 0], axis=1), np.gradient(smooth[..., 0], axis=0)
    dy_x, dy_y = np.gradient(smooth[..., 1], axis=1), np.gradient(smooth[..., 1], axis=0)
    ratio = (1 + dx_x) * (1 + dy_y) - dx_y * dy_x
    return np.asarray(-0.5 * np.log(ratio.clip(1 / MAX_ZOOM, MAX_ZOOM)), np.float32)


def _shrink(image: NDArray[_T], size: tuple[int, int]) -> NDArray[_T]:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _sample(image: Map, x: Map, y: Map) -> Map:
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
