"""Conversion of footage to a framing: selection, resizing and cropping of frames."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.framing import Framing
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Camera

# Maximum distance of an image from its nominal time, in frame intervals; beyond it is a gap.
MAX_LAG = 0.6


def clip_windows(framing: Framing, timestamps: Array, image_times: Array | None = None) -> list[NDArray[np.int64]]:
    """Frame indices of each clip: the frames nearest to a regular grid with a step of ``1 / frame_rate``.

    ``timestamps`` ``(N,)`` are seconds, increasing; ``image_times`` ``(C, N)`` are the times in seconds of the images
    that C other cameras contribute to those frames. A window with a gap (no new frame, or no new image of a camera,
    within 0.6 grid steps) is skipped and the next window starts after the gap, so no clip repeats an image or jumps.
    """
    all_times = timestamps[None] if image_times is None else np.concatenate([timestamps[None], image_times])
    is_late = (np.abs(all_times - timestamps) > MAX_LAG * (1.0 / framing.frame_rate)).any(0)
    step = 1.0 / framing.frame_rate
    half_gap = 0.5 * float(np.median(np.diff(timestamps))) if len(timestamps) > 1 else 0.0
    windows: list[NDArray[np.int64]] = []
    start = 0
    while start < len(timestamps):
        grid = timestamps[start] + step * np.arange(framing.num_frames)
        nearest = np.abs(timestamps[None, :] - grid[:, None]).argmin(1)
        is_valid = (np.abs(timestamps[nearest] - grid) <= MAX_LAG * step) & ~is_late[nearest]
        # Two grid points with the same nearest frame would repeat an image.
        is_valid[1:] &= (np.diff(all_times[:, nearest]) > 0).all(0)
        if is_valid.all():
            windows.append(nearest)
            after = grid[0] + step * framing.stride
            start = int(np.searchsorted(timestamps, after - half_gap))
        else:
            # Restart right after the last valid frame before the gap.
            first_invalid = int(np.argmin(is_valid))
            start = max(start, int(nearest[first_invalid - 1]) if first_invalid else start) + 1
    return windows


def crop_geometry(source: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float]:
    """Scale, and crop offset x0, y0 in target pixels, of a center crop of ``source`` (H, W) that fills ``target``."""
    scale = max(target[0] / source[0], target[1] / source[1])
    return scale, (source[1] * scale - target[1]) / 2, (source[0] * scale - target[0]) / 2


def reframe_camera(camera: Camera, height: int, width: int) -> Camera:
    """``camera`` with the intrinsics of reframed images: u' = s (u + 0.5) - 0.5 - x0, pixel centers at integers."""
    intrinsics = camera.intrinsics
    if intrinsics is not None:
        scale, x0, y0 = crop_geometry((camera.height, camera.width), (height, width))
        adjustment = np.array([[scale, 0, scale / 2 - 0.5 - x0], [0, scale, scale / 2 - 0.5 - y0], [0, 0, 1]])
        intrinsics = adjustment @ intrinsics
    return replace(camera, width=width, height=height, intrinsics=intrinsics)


def reframe_frames(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize ``(T, H, W, 3)`` to fill ``(T, height, width, 3)`` and crop the center, with anti-aliasing.

    One affine warp does both, so the crop offset can be a fraction of a pixel and the intrinsics are exact.
    """
    source = (frames.shape[1], frames.shape[2])
    if source == (height, width):
        return frames
    scale, x0, y0 = crop_geometry(source, (height, width))
    matrix = np.array([[scale, 0, scale / 2 - 0.5 - x0], [0, scale, scale / 2 - 0.5 - y0]])
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for target, image in zip(out, frames, strict=True):
        if scale < 1:
            sigma = 0.5 * (1 / scale - 1) + 1e-6
            image = cv2.GaussianBlur(image, (0, 0), sigma)
        cv2.warpAffine(image, matrix, (width, height), target, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    return out
