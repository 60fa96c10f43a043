"""Twins of intact crops: the same crop spoilt, or worn, when it is drawn for training.

An intact crop and its spoilt twin show the same content, so the network cannot tell them apart by the content.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.pipelines.studies.artifacts.examples import VISIBLE
from driveforge.pipelines.studies.artifacts.spoils import SPOILS, Frames, Place
from driveforge.validation.learned.crops import CROP_PX

_NOW, _BEFORE = slice(0, 3), slice(3, 6)
_COLORS = 9
_TRIES = 3


def spoil_crop(image: NDArray[np.uint8], kinds: tuple[str, ...], rng: np.random.Generator) -> NDArray[np.uint8] | None:
    """The crop with a visible failure in its rated frame, mostly also in the frame before; None if none is visible."""
    views = np.stack([image[part].transpose(1, 2, 0) for part in (_BEFORE, _NOW)]).astype(np.float32)
    contrast = max(float(views[1].std()), 12.0)
    for _ in range(_TRIES):
        kind = kinds[int(rng.integers(len(kinds)))]
        spoilt = SPOILS[kind](views, _sample_place(rng), rng).clip(0, 255)
        change = float(np.sqrt(((spoilt[1] - views[1]) ** 2).mean()))
        if change >= max(VISIBLE[0], VISIBLE[1] * contrast):
            out = image.copy()
            out[_BEFORE], out[_NOW] = (view.round().astype(np.uint8).transpose(2, 0, 1) for view in spoilt)
            return out
    return None


def wear_crop(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The crop with the blur, noise and exposure of another camera, in all views alike."""
    if rng.random() < 0.4:
        return image
    colors: Frames = image[:_COLORS].transpose(1, 2, 0).astype(np.float32)
    colors = np.asarray(cv2.GaussianBlur(colors, (0, 0), rng.uniform(0.3, 1.6)))
    colors = colors * rng.uniform(0.6, 1.2) + rng.uniform(0, 4) * rng.normal(size=(*colors.shape[:2], _COLORS))
    return np.concatenate([colors.round().clip(0, 255).astype(np.uint8).transpose(2, 0, 1), image[_COLORS:]])


def _sample_place(rng: np.random.Generator) -> Place:
    """Most of the crop, or all of it."""
    center, size = rng.uniform(0.2, 0.8, 2) * CROP_PX, rng.uniform(0.5, 1.6) * CROP_PX
    x, y = np.meshgrid(np.arange(CROP_PX), np.arange(CROP_PX))
    radius = np.hypot(x - center[0], y - center[1]) / (size / 2)
    mask = ((1.15 - radius) / 0.3).clip(0, 1).astype(np.float32)
    now = rng.uniform(0.3, 1.0)
    return Place(
        mask=np.stack([mask, mask]),
        center=np.stack([center, center]),
        size=np.full(2, min(size, CROP_PX)),
        strength=np.array([now * rng.uniform(0, 1), now]),
    )
