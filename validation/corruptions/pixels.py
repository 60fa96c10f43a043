"""Corruptions of the pixels of all cameras under a correct command: warps, flicker, boil."""

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip

SWING_HZ = 1.0  # frequency of warps
REGION_SHARE = 0.2  # standard deviation of a warped region, share of the image height
NUM_BANDS = 2.5  # waves of a rolling warp over the image height
SPOT_SHARE = 1 / 64  # standard deviation of boiling spots, share of the image height

Image = NDArray[np.uint8]


def local_warp(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """A textured region of each view oscillates by up to ``percent`` of the width at its center.

    The first frame is not displaced.
    """
    height, width = clip.frames.shape[2:4]
    times = clip.scene.timestamps - clip.scene.timestamps[0]
    swing = percent / 100 * width * np.sin(2 * np.pi * SWING_HZ * times)
    frames = np.empty_like(clip.frames)
    for camera_index, view in enumerate(clip.frames):
        x, y = _sample_textured_pixel(view[0], rng)
        angle = rng.uniform(0, 2 * np.pi)
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        window = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (REGION_SHARE * height) ** 2))
        for t, image in enumerate(view):
            right, down = swing[t] * np.cos(angle) * window, swing[t] * np.sin(angle) * window
            frames[camera_index, t] = _displace(image, right, down)
    return Clip(scene=clip.scene, frames=frames)


def rolling_warp(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """Rows shift sideways by up to ``percent`` of the width, in waves that travel through the image."""
    height, width = clip.frames.shape[2:4]
    start = rng.uniform(0, 2 * np.pi)
    times = clip.scene.timestamps - clip.scene.timestamps[0]
    frames = np.empty_like(clip.frames)
    for t, elapsed in enumerate(times):
        phase = start + 2 * np.pi * (NUM_BANDS * np.arange(height) / height + SWING_HZ * elapsed)
        shift = np.repeat(percent / 100 * width * np.sin(phase)[:, None], width, 1)
        for camera_index, view in enumerate(clip.frames):
            frames[camera_index, t] = _displace(view[t], shift, np.zeros_like(shift))
    return Clip(scene=clip.scene, frames=frames)


def flicker(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """Multiplies every frame by a gain: 1 plus white noise with a root mean square of ``percent``."""
    noise = rng.normal(size=clip.scene.num_frames)
    gains = 1 + percent / 100 * noise / np.sqrt((noise**2).mean())
    frames = np.empty_like(clip.frames)
    for t, gain in enumerate(gains):
        frames[:, t] = _to_uint8(clip.frames[:, t] * gain)
    return Clip(scene=clip.scene, frames=frames)


def boil(clip: Clip, levels: float, rng: np.random.Generator) -> Clip:
    """Adds new smooth gray noise to every frame, with a root mean square of ``levels``."""
    height, width = clip.frames.shape[2:4]
    frames = np.empty_like(clip.frames)
    for place in np.ndindex(clip.frames.shape[:2]):
        spots = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), max(0.8, SPOT_SHARE * height))
        spots *= levels / np.sqrt((spots**2).mean())
        frames[place] = _to_uint8(clip.frames[place] + spots[..., None])
    return Clip(scene=clip.scene, frames=frames)


def _sample_textured_pixel(image: Image, rng: np.random.Generator) -> tuple[int, int]:
    """Sample a column and row with a probability that grows with the local texture: warps of the sky are invisible."""
    height, width = image.shape[:2]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    texture = np.hypot(cv2.Sobel(gray, cv2.CV_64F, 1, 0), cv2.Sobel(gray, cv2.CV_64F, 0, 1))
    weights = cv2.GaussianBlur(texture, (0, 0), REGION_SHARE * height / 2).ravel() ** 2 + 1e-9
    row, column = divmod(int(rng.choice(weights.size, p=weights / weights.sum())), width)
    return column, row


def _displace(image: Image, right: Array, down: Array) -> Image:
    """``image`` with its content moved by ``right`` and ``down`` ``(H, W)`` px (to first order: inverse sampling)."""
    columns, rows = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    x, y = (columns - right).astype(np.float32), (rows - down).astype(np.float32)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))


def _to_uint8(values: Array) -> Image:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
