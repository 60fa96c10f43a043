"""Changes of training images that labels allow: mirrored, magnified, with another light, color, noise and sharpness."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.pipelines.studies.detector.images import LabeledImage

GAIN, CONTRAST, NOISE = (0.6, 1.5), (0.8, 1.25), 6.0  # ranges of changes of images; gray levels
ZOOM = (0.8, 1.3)
MIN_KEPT = 0.15  # of a box's area: less is no longer labeled


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A mirror image or not, then a magnification about a place of the image; ``offset`` ``(2,)`` px."""

    mirrored: bool
    zoom: float
    offset: Array


def sample_move(shape: tuple[int, ...], rng: np.random.Generator) -> Move:
    """A random move of an image of ``shape`` (H, W, ...)."""
    mirrored, zoom = rng.random() < 0.5, float(rng.uniform(*ZOOM))
    return Move(mirrored=mirrored, zoom=zoom, offset=rng.uniform(0, 1, 2) * (1 - zoom) * [shape[1], shape[0]])


def move_image(image: NDArray[np.uint8], move: Move, interpolation: int = cv2.INTER_LINEAR) -> NDArray[np.uint8]:
    """The moved image ``(H, W, ...)``, continued by reflection."""
    source = np.ascontiguousarray(image[:, ::-1] if move.mirrored else image)
    matrix = np.array([[move.zoom, 0, move.offset[0]], [0, move.zoom, move.offset[1]]])
    moved = cv2.warpAffine(source, matrix, image.shape[1::-1], flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def move_labels(one: LabeledImage, move: Move) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The moved boxes ``(N, 4)`` px within the image and their labels, without those that are mostly outside."""
    rows, columns = one.image.shape[:2]
    boxes = one.boxes
    if move.mirrored:
        boxes = np.stack([columns - 1 - boxes[:, 2], boxes[:, 1], columns - 1 - boxes[:, 0], boxes[:, 3]], -1)
    boxes = move.zoom * boxes + np.tile(move.offset, 2)
    inside = np.clip(boxes, 0, [columns - 1, rows - 1] * 2)
    area, whole = (inside[:, 2:] - inside[:, :2]).prod(1), (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = area > MIN_KEPT * whole
    return inside[kept].astype(np.float32), one.labels[kept]


def change(one: LabeledImage, rng: np.random.Generator) -> LabeledImage:
    """A random change of the image with its labels."""
    move = sample_move(one.image.shape, rng)
    boxes, labels = move_labels(one, move)
    return LabeledImage(image=recolor(move_image(one.image, move), rng), boxes=boxes, labels=labels)


def recolor(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image ``(H, W, 3)`` with random contrast, gain, color, sharpness and noise."""
    signal = image.astype(np.float32)
    signal = 128 + (signal - 128) * rng.uniform(*CONTRAST)
    signal *= rng.uniform(*GAIN) * rng.uniform(0.9, 1.1, 3).astype(np.float32)
    if rng.random() < 0.3:
        signal = cv2.GaussianBlur(signal, (0, 0), float(rng.uniform(0.4, 1.2)) * len(image) / 256)
    if rng.random() < 0.5:
        signal += rng.uniform(0, NOISE) * rng.normal(size=(*image.shape[:2], 1)).astype(np.float32)
    return signal.round().clip(0, 255).astype(np.uint8)
