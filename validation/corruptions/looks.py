"""Corruptions of what a clip looks like, as generators spoil it, under a correct command.

Objects melt, turn into blocks or are repainted; the whole image loses detail; the road turns into flat blocks. Each
grows over time, since generated clips are best in their first frames.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.objects import blend, redraw_frames, soft_mask
from driveforge.validation.corruptions.visibility import (
    MIN_VISIBLE_FRAMES,
    BoxVisibility,
    ObjectPlace,
    box_visibilities,
    candidates_at,
    sample_object,
)

START_SHARE = 0.25  # of the time that an object is in view: the corruption grows from here to the end
MELT_BLUR_SHARE = 0.12  # of the object's size, at the end
ROAD_BLOCK_SHARE = 1 / 16  # of the rows
FLAT_SHARE = 0.5  # of the blocks of the road

Image = NDArray[np.uint8]


def melt(clip: Clip, percent: float, rng: np.random.Generator, place: ObjectPlace) -> Clip:
    """An object flows into a smooth mass: it is warped by up to ``percent`` of its size and blurred."""
    visibilities, track_index, progress = _sample(clip, rng, place)
    bumps = rng.normal(size=(2, 4, 4))

    def redraw(image: Image, visibility: BoxVisibility, t: int) -> Image:
        size = float(visibility.boxes.visible_size[t, track_index])
        x0, y0, x1, y1 = np.round(visibility.boxes.rectangle[t, track_index].clip(-1e4, 1e4))
        shift = progress[t] * percent / 100 * size * _stretch(bumps, (x0, y0, x1 + 1, y1 + 1), visibility.shape)
        melted = _displace(image, shift)
        melted = cv2.GaussianBlur(melted, (0, 0), max(progress[t] * MELT_BLUR_SHARE * size, 0.1))
        mask = soft_mask(visibility.visible_mask(t, track_index), visibility.occluded_mask(t, track_index))
        return blend(image, np.asarray(melted, np.uint8), mask * min(1.0, 3 * progress[t]))

    return redraw_frames(clip, visibilities, track_index, _first(progress), redraw)


def mosaic(clip: Clip, pixels: float, rng: np.random.Generator, place: ObjectPlace) -> Clip:
    """From some frame on an object consists of flat blocks of ``pixels`` (in an image of 256 rows)."""
    visibilities, track_index, progress = _sample(clip, rng, place)

    def redraw(image: Image, visibility: BoxVisibility, t: int) -> Image:
        side = max(2, round(pixels * visibility.shape[0] / 256))
        mask = soft_mask(visibility.visible_mask(t, track_index), visibility.occluded_mask(t, track_index))
        return blend(image, _flatten(image, side), mask * min(1.0, 3 * progress[t]))

    return redraw_frames(clip, visibilities, track_index, _first(progress), redraw)


def repaint(clip: Clip, percent: float, rng: np.random.Generator, place: ObjectPlace) -> Clip:
    """An object slowly takes another color: its channels are permuted with an opacity of up to ``percent``."""
    visibilities, track_index, progress = _sample(clip, rng, place)
    order = [[1, 2, 0], [2, 0, 1]][int(rng.integers(2))]

    def redraw(image: Image, visibility: BoxVisibility, t: int) -> Image:
        gamma = 0.6 if image.mean() < 128 else 1.6
        painted = np.round(255 * (image[..., order] / 255.0) ** gamma).astype(np.uint8)
        mask = soft_mask(visibility.visible_mask(t, track_index), visibility.occluded_mask(t, track_index))
        return blend(image, painted, mask * percent / 100 * min(1.0, 2 * progress[t]))

    return redraw_frames(clip, visibilities, track_index, _first(progress), redraw)


def detail_decay(clip: Clip, pixels: float, rng: np.random.Generator) -> Clip:
    """Every view is blurred more and more, by up to ``pixels`` (standard deviation, in an image of 256 rows)."""
    frames = clip.frames.copy()
    for t, done in enumerate(np.linspace(0, 1, clip.scene.num_frames)):
        sigma = done * pixels * clip.frames.shape[2] / 256
        for view in frames:
            view[t] = cv2.GaussianBlur(view[t], (0, 0), sigma) if sigma > 0.1 else view[t]
    return Clip(scene=clip.scene, frames=frames)


def road_blocks(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """Half of the blocks of the lower half of every view become flat, with an opacity of up to ``percent``."""
    height, width = clip.frames.shape[2:4]
    side = max(4, round(ROAD_BLOCK_SHARE * height))
    chosen = rng.random((-(-height // side), -(-width // side))) < FLAT_SHARE
    area = np.kron(chosen, np.ones((side, side)))[:height, :width] * (np.arange(height)[:, None] >= height // 2)
    frames = clip.frames.copy()
    for t, done in enumerate(np.linspace(0, 1, clip.scene.num_frames)):
        for view in frames:
            view[t] = blend(view[t], _flatten(view[t], side), area * percent / 100 * min(1.0, 2 * done))
    return Clip(scene=clip.scene, frames=frames)


def _sample(clip: Clip, rng: np.random.Generator, place: ObjectPlace) -> tuple[list[BoxVisibility], int, Array]:
    """The boxes, the index of a sampled track, and the progress ``(T,)`` of its corruption from 0 to 1."""
    visibilities = box_visibilities(clip)
    visible = candidates_at(visibilities, place)
    track_index = sample_object(clip, visible.sum(0) >= MIN_VISIBLE_FRAMES, "object", rng)
    first, *_, last = np.flatnonzero(visible[:, track_index])
    start = first + START_SHARE * (last - first)
    return visibilities, track_index, ((np.arange(clip.scene.num_frames) - start) / (last - start)).clip(0, 1)


def _first(progress: Array) -> int:
    return int(np.flatnonzero(progress)[0])


def _stretch(bumps: Array, rectangle: tuple[float, float, float, float], shape: tuple[int, int]) -> Array:
    """A displacement field ``(2, H, W)`` whose ``bumps`` ``(2, 4, 4)`` cover the rectangle of a box."""
    x0, y0, x1, y1 = rectangle
    x = ((np.arange(shape[1]) - x0) / (x1 - x0) * 3).astype(np.float32)
    y = ((np.arange(shape[0]) - y0) / (y1 - y0) * 3).astype(np.float32)
    columns, rows = np.meshgrid(x, y)
    return np.stack(
        [
            cv2.remap(bump.astype(np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for bump in bumps
        ]
    )


def _displace(image: Image, shift: Array) -> Image:
    columns, rows = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    x, y = (columns - shift[0]).astype(np.float32), (rows - shift[1]).astype(np.float32)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _flatten(image: Image, side: int) -> Image:
    """``image`` with the mean color in every block of ``side`` px."""
    height, width = image.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    padded = cv2.copyMakeBorder(image, 0, rows * side - height, 0, columns * side - width, cv2.BORDER_REPLICATE)
    small = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, padded.shape[1::-1], interpolation=cv2.INTER_NEAREST)[:height, :width])
