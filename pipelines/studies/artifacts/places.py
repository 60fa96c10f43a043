"""Random places to spoil in a clip: vehicles, parts of the image, or all of it."""

import cv2
import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.pipelines.studies.artifacts.spoils import Place
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import View

MIN_SHARE = 0.003  # of the image, for a vehicle to spoil


def sample_place(view: View, boxes: Boxes | None, rng: np.random.Generator) -> Place:
    """A vehicle (if one is large enough) in half of the cases, a part of the image, or, rarely, all of it."""
    frames, height, width = view.gray.shape
    choice = rng.random()
    strength = _sample_strength(frames, rng)
    large = [] if boxes is None else _large_tracks(boxes, height, width)
    if choice < 0.55 and boxes is not None and large:
        # Near vehicles fail most often.
        track = large[int(rng.integers(min(len(large), 4)))]
        return _on_track(boxes, track, (frames, height, width), strength)
    if choice < 0.93:
        size = np.full(frames, rng.uniform(0.15, 0.7) * height)
        start = np.array([rng.uniform(0, width), rng.uniform(0.2 * height, height)])
        drift = rng.normal(0, 0.008 * height, 2)
        center = np.asarray(start + drift * np.arange(frames)[:, None], np.float64)
        return _ellipses(center, size, size * rng.uniform(0.5, 1.5), (frames, height, width), strength)
    center = np.full((frames, 2), [width / 2, height / 2])
    mask = np.ones((frames, height, width), np.float32)
    return Place(mask=mask, center=center, size=np.full(frames, rng.uniform(0.3, 0.6) * height), strength=strength)


def _sample_strength(frames: int, rng: np.random.Generator) -> Array:
    """A strength that grows from a random start, or, rarely, is there from the first frame on."""
    top = rng.uniform(0.25, 1.0)
    if rng.random() < 0.1:
        return np.full(frames, top)
    start, length = rng.uniform(0, 0.5), rng.uniform(0.1, 0.6)
    return np.asarray(top * ((np.linspace(0, 1, frames) - start) / length).clip(0, 1))


def _large_tracks(boxes: Boxes, height: int, width: int) -> list[int]:
    """Tracks that fill enough of the image in the later half, the largest first."""
    later = boxes.rectangle[len(boxes.rectangle) // 2 :].clip(0, [width, height, width, height])
    areas = (later[..., 2:] - later[..., :2]).prod(-1).max(0) / (height * width)
    return [int(n) for n in np.argsort(-areas) if areas[n] >= MIN_SHARE]


def _on_track(boxes: Boxes, track: int, shape: tuple[int, int, int], strength: Array) -> Place:
    frames, height, width = shape
    inside = boxes.rectangle[:, track].clip(0, [width, height, width, height])
    center, sides = (inside[:, :2] + inside[:, 2:]) / 2, np.maximum(inside[:, 2:] - inside[:, :2], 2.0)
    mask = np.zeros(shape, np.float32)
    for t in range(frames):
        hull = boxes.hulls[t][track]
        if hull is not None:
            cv2.fillConvexPoly(mask[t], hull, 1.0)
            mask[t] = cv2.GaussianBlur(mask[t], (0, 0), max(0.5, 0.05 * float(sides[t].min())))
    return Place(mask=mask, center=center, size=np.sqrt(sides.prod(-1)), strength=strength)


def _ellipses(center: Array, widths: Array, heights: Array, shape: tuple[int, int, int], strength: Array) -> Place:
    frames, height, width = shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    mask = np.zeros(shape, np.float32)
    for t in range(frames):
        radius = np.hypot(*np.moveaxis((grid - center[t]) / [widths[t] / 2, heights[t] / 2], -1, 0))
        mask[t] = ((1.1 - radius) / 0.2).clip(0, 1)
    return Place(mask=mask, center=center, size=np.sqrt(widths * heights), strength=strength)
