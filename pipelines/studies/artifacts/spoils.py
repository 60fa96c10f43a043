"""The ways in which video models fail, imitated in a place of a clip, at a strength from just visible to obvious.

Frames are float32 ``(T, H, W, 3)`` RGB 0..255. Failures of the codec's latents are in ``latent_spoils.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array

Frames = NDArray[np.float32]
_FIELD_PX = 48


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Place:
    """Where and when a clip is spoilt, following an object or a point of the image.

    ``mask`` ``(T, H, W)`` 0..1 has soft edges; ``center`` ``(T, 2)`` px and ``size`` ``(T,)`` px describe it.
    ``strength`` ``(T,)`` 0..1 grows over time.
    """

    mask: Frames
    center: Array
    size: Array
    strength: Array


Spoil = Callable[[Frames, Place, np.random.Generator], Frames]


def smear(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Averages along the motion of the place, or along a random direction if it stands."""
    motion = place.center[-1] - place.center[0]
    angle = np.arctan2(motion[1], motion[0]) if np.hypot(*motion) > 2 else rng.uniform(-0.4, 0.4)
    length = rng.uniform(0.3, 0.9)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        half = 0.5 * length * strength * place.size[t]
        offsets = np.linspace(-half, half, 9)
        shifts = [_shift(frame, s * np.cos(angle), s * np.sin(angle)) for s in offsets]
        return np.asarray(np.mean(shifts, axis=0))

    return _spoil(frames, place, change)


def melt(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """A smooth displacement that grows, with colors that bleed."""
    field, amplitude, bleed = _random_field(rng, int(rng.integers(3, 7))), rng.uniform(0.1, 0.35), rng.uniform(0, 0.15)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        warped = _displace(frame, _at_place(field, place, t, frame) * amplitude * strength * place.size[t])
        return _bleed(warped, bleed * strength * place.size[t])

    return _spoil(frames, place, change)


def dissolve(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """The content fades into a blurred surrounding."""
    share, blur = rng.uniform(0.4, 1.0), rng.uniform(0.2, 0.6)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        return (1 - share * strength) * frame + share * strength * _blur(frame, blur * place.size[t])

    return _spoil(frames, place, change)


def bulge(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Magnifies or shrinks the middle of the place."""
    amplitude = rng.uniform(0.3, 0.7) * rng.choice([-1, 1])

    def change(frame: Frames, t: int, strength: float) -> Frames:
        offset = _grid(frame) - place.center[t]
        near = np.exp(-4 * (offset**2).sum(-1, keepdims=True) / place.size[t] ** 2)
        return _displace(frame, -amplitude * strength * near * offset)

    return _spoil(frames, place, change)


def mosaic(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Some cells of 8 or 16 px become flat."""
    cell, share = _cell(frames, rng), rng.uniform(0.4, 1.0)
    height, width = frames.shape[1:3]
    chosen = (rng.random((height // cell + 1, width // cell + 1)) < share).astype(np.float32)
    weight = np.kron(chosen, np.ones((cell, cell), np.float32))[:height, :width, None]

    def change(frame: Frames, t: int, strength: float) -> Frames:
        small = cv2.resize(frame, (max(width // cell, 1), max(height // cell, 1)), interpolation=cv2.INTER_AREA)
        flat = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(frame + strength * weight * (flat - frame))

    return _spoil(frames, place, change)


def misplaced_cells(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Each cell of 8 or 16 px shows content from a few pixels beside it, and has a tint of its own."""
    cell, reach, tint = _cell(frames, rng), rng.uniform(0.3, 1.0), rng.uniform(0, 25)
    height, width = frames.shape[1:3]
    shape = (height // cell + 1, width // cell + 1)
    shifts, tints = rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 3))
    spread = np.ones((cell, cell, 1), np.float32)
    shift_map, tint_map = (np.kron(v, spread)[:height, :width].astype(np.float32) for v in (shifts, tints))

    def change(frame: Frames, t: int, strength: float) -> Frames:
        return _displace(frame, reach * strength * cell * shift_map) + tint * strength * tint_map

    return _spoil(frames, place, change)


def ghost(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """A double exposure, shifted."""
    angle, reach, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.4), rng.uniform(0.3, 0.6)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        length = reach * place.size[t]
        moved = _shift(frame, length * np.cos(angle), length * np.sin(angle))
        return (1 - share * strength) * frame + share * strength * moved

    return _spoil(frames, place, change)


def duplicate(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """A part of the place appears twice."""
    return _paste(frames, place, rng, reach=rng.uniform(0.3, 0.6))


def wrong_part(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """A part of the place shows something from elsewhere in the image."""
    return _paste(frames, place, rng, reach=rng.uniform(1.0, 2.5))


def swim(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Texture that moves by itself: another displacement in every frame."""
    amplitude = rng.uniform(0.04, 0.15)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        field = _at_place(_random_field(rng, 6), place, t, frame)
        return _displace(frame, field * amplitude * strength * place.size[t])

    return _spoil(frames, place, change)


def lose_detail(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Blur that grows."""
    blur = rng.uniform(0.01, 0.05) * frames.shape[1] / 2

    def change(frame: Frames, t: int, strength: float) -> Frames:
        return _blur(frame, blur * strength)

    return _spoil(frames, place, change)


def flatten(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Surfaces without structure: a median filter, so that slabs with sharp edges are left."""
    kernel = rng.uniform(0.15, 0.4)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        side = 2 * int(kernel * strength * place.size[t] / 2) + 1
        shrink = max(1, side // 9)
        small = cv2.resize(frame, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        median = cv2.medianBlur(small.clip(0, 255).astype(np.uint8), min(2 * (side // shrink // 2) + 1, 15))
        large = cv2.resize(median.astype(np.float32), frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return frame if side < 3 else np.asarray(large)

    return _spoil(frames, place, change)


def grain(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Colored noise of 1 to 8 px, another in every frame."""
    cell, amplitude, color = int(rng.choice([1, 2, 4, 8])), rng.uniform(15, 60), rng.uniform(0, 1)
    interpolation = int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_CUBIC]))

    def change(frame: Frames, t: int, strength: float) -> Frames:
        height, width = frame.shape[:2]
        noise = rng.normal(size=(max(height // cell, 1), max(width // cell, 1), 3)).astype(np.float32)
        noise = color * noise + (1 - color) * noise[..., :1]
        large = cv2.resize(noise, (width, height), interpolation=interpolation)
        return np.asarray(frame + amplitude * strength * large)

    return _spoil(frames, place, change)


def run_away(frames: Frames, place: Place, rng: np.random.Generator) -> Frames:
    """Contrast and saturation that grow, as with too much guidance."""
    contrast, saturation, shift = rng.uniform(0.8, 3), rng.uniform(0.5, 3), rng.uniform(-40, 40)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        gray = frame.mean(-1, keepdims=True)
        center = float(gray.mean())
        bright = center + (1 + contrast * strength) * (gray - center) + shift * strength
        return np.asarray((bright + (1 + saturation * strength) * (frame - gray)).clip(0, 255), np.float32)

    return _spoil(frames, place, change)


SPOILS: dict[str, Spoil] = {
    "smear": smear,
    "melt": melt,
    "dissolve": dissolve,
    "bulge": bulge,
    "mosaic": mosaic,
    "misplaced-cells": misplaced_cells,
    "ghost": ghost,
    "duplicate": duplicate,
    "wrong-part": wrong_part,
    "swim": swim,
    "lose-detail": lose_detail,
    "flatten": flatten,
    "grain": grain,
    "run-away": run_away,
}


def _spoil(frames: Frames, place: Place, change: Callable[[Frames, int, float], Frames]) -> Frames:
    """Each frame changed at its strength and blended by the mask."""
    out = frames.copy()
    for t in np.flatnonzero((place.strength > 0) & (place.mask.max((1, 2)) > 0)):
        weight = place.mask[t, ..., None]
        out[t] += weight * (change(frames[t], int(t), float(place.strength[t])) - frames[t])
    return out


def _paste(frames: Frames, place: Place, rng: np.random.Generator, reach: float) -> Frames:
    """A part of the place replaced by the content ``reach`` sizes away, as the strength passes a random level."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.45)
    part = rng.uniform(-0.25, 0.25, 2)

    def change(frame: Frames, t: int, strength: float) -> Frames:
        length = reach * place.size[t]
        dx, dy = length * np.cos(angle), 0.4 * length * np.sin(angle)
        # A part from beyond the image is taken from the opposite side.
        x, y = place.center[t] + [dx, dy]
        dx, dy = (-dx if not 0 <= x < frame.shape[1] else dx), (-dy if not 0 <= y < frame.shape[0] else dy)
        distance = np.linalg.norm(_grid(frame) - place.center[t] - part * place.size[t], axis=-1)
        inside = ((radius * place.size[t] - distance) / (0.1 * place.size[t]) + 0.5).clip(0, 1)[..., None]
        return np.asarray(frame + min(1.0, 1.5 * strength) * inside * (_shift(frame, -dx, -dy) - frame), np.float32)

    return _spoil(frames, place, change)


def _cell(frames: Frames, rng: np.random.Generator) -> int:
    return int(rng.choice([8, 16]))


def _random_field(rng: np.random.Generator, knots: int) -> Frames:
    """A smooth random displacement ``(_FIELD_PX, _FIELD_PX, 2)`` of standard deviation about 1."""
    coarse = rng.normal(size=(knots, knots, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (_FIELD_PX, _FIELD_PX), interpolation=cv2.INTER_CUBIC))


def _at_place(field: Frames, place: Place, t: int, frame: Frames) -> Frames:
    """The field over the image, moving and growing with the place."""
    spot = ((_grid(frame) - place.center[t]) / place.size[t] / 2 + 0.5) * _FIELD_PX
    x, y = np.moveaxis(spot.astype(np.float32), -1, 0)
    return np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def _grid(frame: Frames) -> Array:
    height, width = frame.shape[:2]
    return np.asarray(np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1), np.float64)


def _displace(frame: Frames, flow: Array | Frames) -> Frames:
    x, y = np.moveaxis((_grid(frame) + flow).astype(np.float32), -1, 0)
    return np.asarray(cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def _shift(frame: Frames, dx: float, dy: float) -> Frames:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return np.asarray(cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT))


def _blur(frame: Frames, sigma: float) -> Frames:
    return frame if sigma < 0.2 else np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma))


def _bleed(frame: Frames, sigma: float) -> Frames:
    """Blurred colors under a sharp brightness."""
    if sigma < 0.3:
        return frame
    gray = frame.mean(-1, keepdims=True)
    return np.asarray(gray + _blur(frame - gray, sigma))
