"""Footage brought to a framing: which frames a clip takes, and how they are resized and cropped."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.framing import Framing
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Camera

# How far an image may be from the instant that it stands for, in steps between frames: farther is a gap.
MAX_LAG = 0.6


def clip_windows(framing: Framing, timestamps: Array, image_times: Array | None = None) -> list[NDArray[np.int64]]:
    """Index arrays, one a clip, of the frames nearest to a regular grid of ``1 / frame_rate`` seconds.

    ``timestamps`` ``(N,)`` are seconds, rising; ``image_times`` ``(C, N)`` say when the images were taken that
    other cameras show in those frames. A window that meets a gap (no frame of its own, or no image of a camera of
    its own, within 0.6 of a grid step) is given up and the next one starts behind the gap, so no clip repeats an
    image or jumps.
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
        is_valid[1:] &= (np.diff(all_times[:, nearest]) > 0).all(0)
        if is_valid.all():
            windows.append(nearest)
            after = grid[0] + step * framing.stride
            start = int(np.searchsorted(timestamps, after - half_gap))
        else:
            first_invalid = int(np.argmin(is_valid))
            start = max(start, int(nearest[first_invalid - 1]) if first_invalid else start) + 1
    return windows


def crop_geometry(source: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float]:
    """Scale, and crop offset x0, y0 in target pixels, that fill ``target`` (H, W) from the center of ``source``."""
    scale = max(target[0] / source[0], target[1] / source[1])
    return scale, (source[1] * scale - target[1]) / 2, (source[0] * scale - target[0]) / 2


def reframe_camera(camera: Camera, height: int, width: int) -> Camera:
    """``camera`` as it sees after ``reframe_frames``: u' = s (u + 0.5) - 0.5 - x0, pixel centers at integers."""
    intrinsics = camera.intrinsics
    if intrinsics is not None:
        scale, x0, y0 = crop_geometry((camera.height, camera.width), (height, width))
        adjustment = np.array([[scale, 0, scale / 2 - 0.5 - x0], [0, scale, scale / 2 - 0.5 - y0], [0, 0, 1]])
        intrinsics = adjustment @ intrinsics
    return replace(camera, width=width, height=height, intrinsics=intrinsics)


def reframe_frames(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize ``(T, H, W, 3)`` to fill ``(T, height, width, 3)`` and crop the center, anti-aliased when shrinking.

    One affine warp does both, so that the crop offset may be a fraction of a pixel and the intrinsics stay exact.
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
