"""Textures that are the same in every world: vehicles, people, signs and wheels."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.simulation.atlas import CHANNELS, matte_texture, value_noise

Canvas = NDArray[np.float32]
Texel = tuple[float, float, float, float, float]

PAINT: Texel = (255, 255, 255, 255, 0)
GLASS: Texel = (38, 46, 56, 0, 0)
BLACK: Texel = (24, 24, 26, 0, 0)
GRAY: Texel = (120, 122, 125, 0, 0)
PLATE: Texel = (225, 225, 215, 0, 0)
HEADLIGHT: Texel = (235, 235, 225, 0, 255)
TAILLIGHT: Texel = (190, 25, 20, 0, 200)
AMBER: Texel = (225, 140, 30, 0, 60)
LIT_GLASS: Texel = (235, 205, 140, 0, 130)


@lru_cache(maxsize=1)
def static_textures() -> dict[str, Canvas]:
    """All static textures by name, each ``(n, n, 5)``."""
    textures = {
        "body_side": _body_side(), "body_front": _body_front(), "body_rear": _body_rear(), "paint": _plain(PAINT),
        "cabin_side": _cabin(3), "cabin_end": _cabin(1), "box_side": _box_side(), "box_rear": _box_rear(),
        "bus_side": _bus_side(), "bus_front": _bus_front(), "bus_rear": _bus_rear(), "glass": _plain(GLASS),
        "black": _plain(BLACK), "gray": _plain(GRAY), "headlight": _plain(HEADLIGHT), "taillight": _plain(TAILLIGHT),
        "wheel": _wheel(), "cloth": _cloth(), "skin": _plain((222, 178, 150, 0, 0)), "metal": _metal(),
        "lamp": _plain((245, 225, 175, 0, 255)), "sign": _sign(), "leaves": _leaves(), "bark": _bark(),
        "red_light": _plain((230, 30, 20, 0, 255)), "checks": _checkerboard(), "dots": _dots(), "waves": _waves(),
    }  # fmt: skip
    for texture in textures.values():
        texture.setflags(write=False)
    return textures


def _fill(canvas: Canvas, u0: float, v0: float, u1: float, v1: float, texel: Texel) -> None:
    """Fill a rectangle with coordinates in 0..1, v down."""
    n = len(canvas)
    canvas[round(v0 * n) : round(v1 * n), round(u0 * n) : round(u1 * n)] = texel


def _add_blotches(canvas: Canvas, seed: int, contrast: float = 0.05) -> Canvas:
    """Add faint noise, so that no surface has a constant color."""
    relief = value_noise(np.random.default_rng(seed), len(canvas), (4, 8, 16, 32), 0.8)
    canvas[..., :3] = np.clip(canvas[..., :3] * (1 - contrast / 2 + contrast * relief[..., None]), 0, 255)
    return canvas


def _plain(texel: Texel, side: int = 64) -> Canvas:
    return _add_blotches(np.full((side, side, CHANNELS), texel, np.float32), 1)


def _body_side() -> Canvas:
    """The side of a car with doors, handles, sill, wheel arches and lights; the front is at u = 1."""
    canvas = np.full((128, 128, CHANNELS), PAINT, np.float32)
    canvas[:50, :, :3] *= np.linspace(0.86, 1.0, 50, dtype=np.float32)[:, None, None]
    _fill(canvas, 0, 0.82, 1, 1, (45, 45, 48, 60, 0))
    _fill(canvas, 0, 0.30, 1, 0.34, (205, 205, 205, 255, 0))
    for u in (0.33, 0.53, 0.70):
        _fill(canvas, u, 0.02, u + 0.012, 0.8, (70, 70, 70, 120, 0))
    for u in (0.37, 0.57):
        _fill(canvas, u, 0.2, u + 0.05, 0.26, (110, 110, 110, 120, 0))
    _fill(canvas, 0.0, 0.1, 0.05, 0.32, TAILLIGHT)
    _fill(canvas, 0.95, 0.2, 1.0, 0.4, AMBER)
    for u in (0.19, 0.81):
        arch = np.zeros((128, 128), np.uint8)
        cv2.ellipse(arch, (round(u * 128), 128), (14, 88), 0, 0, 360, 1, -1)
        canvas[arch == 1] = BLACK
    return _add_blotches(canvas, 2)


def _body_front() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), PAINT, np.float32)
    _fill(canvas, 0, 0.8, 1, 1, (45, 45, 48, 60, 0))
    _fill(canvas, 0.28, 0.22, 0.72, 0.46, BLACK)
    _fill(canvas, 0.2, 0.62, 0.8, 0.76, (30, 30, 32, 0, 0))
    _fill(canvas, 0.38, 0.52, 0.62, 0.62, PLATE)
    for u in (0.03, 0.77):
        _fill(canvas, u, 0.18, u + 0.2, 0.42, HEADLIGHT)
    return _add_blotches(canvas, 3)


def _body_rear() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), PAINT, np.float32)
    _fill(canvas, 0, 0.84, 1, 1, (45, 45, 48, 60, 0))
    _fill(canvas, 0.0, 0.56, 1, 0.6, (120, 120, 120, 255, 0))
    _fill(canvas, 0.34, 0.36, 0.66, 0.5, PLATE)
    for u in (0.02, 0.78):
        _fill(canvas, u, 0.12, u + 0.2, 0.38, TAILLIGHT)
    return _add_blotches(canvas, 4)


def _cabin(windows: int) -> Canvas:
    """Windows between painted pillars, with a reflection of the sky."""
    canvas = np.full((64, 64, CHANNELS), PAINT, np.float32)
    edge, pillar = 0.05, 0.05
    width = (1 - 2 * edge - pillar * (windows - 1)) / windows
    for i in range(windows):
        u = edge + i * (width + pillar)
        _fill(canvas, u, 0.1, u + width, 0.94, GLASS)
        _fill(canvas, u, 0.1, u + width, 0.32, (96, 112, 128, 0, 0))
        _fill(canvas, u, 0.32, u + width, 0.5, (62, 74, 88, 0, 0))
    return _add_blotches(canvas, 5)


def _box_side() -> Canvas:
    """The ribbed side of a cargo box with a colored stripe."""
    canvas = np.full((128, 128, CHANNELS), (228, 228, 226, 40, 0), np.float32)
    for i in range(12):
        _fill(canvas, i / 12, 0, i / 12 + 0.012, 1, (170, 170, 170, 60, 0))
    _fill(canvas, 0.12, 0.3, 0.8, 0.55, PAINT)
    _fill(canvas, 0.18, 0.38, 0.5, 0.47, (245, 245, 245, 0, 0))
    _fill(canvas, 0, 0.93, 1, 1, BLACK)
    return _add_blotches(canvas, 6, 0.08)


def _box_rear() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), (215, 215, 213, 60, 0), np.float32)
    _fill(canvas, 0.49, 0.03, 0.51, 0.88, (90, 90, 90, 0, 0))
    for u in (0.35, 0.63):
        _fill(canvas, u, 0.05, u + 0.02, 0.86, (140, 140, 140, 0, 0))
    _fill(canvas, 0, 0.88, 1, 1, BLACK)
    _fill(canvas, 0.02, 0.89, 0.16, 0.97, TAILLIGHT)
    _fill(canvas, 0.84, 0.89, 0.98, 0.97, TAILLIGHT)
    return _add_blotches(canvas, 7, 0.08)


def _bus_side() -> Canvas:
    canvas = np.full((128, 128, CHANNELS), PAINT, np.float32)
    for i in range(7):
        _fill(canvas, 0.03 + i * 0.137, 0.16, 0.15 + i * 0.137, 0.5, LIT_GLASS if i % 3 else GLASS)
        _fill(canvas, 0.03 + i * 0.137, 0.16, 0.15 + i * 0.137, 0.28, (80, 94, 108, 0, 40))
    for u in (0.34, 0.86):
        _fill(canvas, u, 0.18, u + 0.09, 0.9, (50, 58, 66, 0, 40))
    _fill(canvas, 0, 0.62, 1, 0.68, (240, 240, 240, 0, 0))
    _fill(canvas, 0, 0.94, 1, 1, BLACK)
    return _add_blotches(canvas, 8)


def _bus_front() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), PAINT, np.float32)
    _fill(canvas, 0.05, 0.18, 0.95, 0.62, GLASS)
    _fill(canvas, 0.05, 0.18, 0.95, 0.32, (88, 102, 116, 0, 0))
    _fill(canvas, 0.2, 0.05, 0.8, 0.15, (230, 160, 40, 0, 220))
    for u in (0.05, 0.8):
        _fill(canvas, u, 0.74, u + 0.15, 0.84, HEADLIGHT)
    return _add_blotches(canvas, 9)


def _bus_rear() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), PAINT, np.float32)
    _fill(canvas, 0.12, 0.14, 0.88, 0.42, GLASS)
    _fill(canvas, 0.25, 0.62, 0.75, 0.86, (60, 60, 62, 0, 0))
    for u in (0.02, 0.86):
        _fill(canvas, u, 0.5, u + 0.12, 0.8, TAILLIGHT)
    return _add_blotches(canvas, 10)


def _wheel() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), BLACK, np.float32)
    rim = np.zeros((64, 64), np.uint8)
    cv2.circle(rim, (32, 32), 19, 1, -1)
    canvas[rim == 1] = (165, 167, 170, 0, 0)
    for angle in np.arange(5) * 2 * np.pi / 5:
        spoke = np.zeros((64, 64), np.uint8)
        cv2.line(spoke, (32, 32), (int(32 + 18 * np.cos(angle)), int(32 + 18 * np.sin(angle))), 1, 3)
        canvas[spoke == 1] = (60, 60, 62, 0, 0)
    return canvas


def _cloth() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), PAINT, np.float32)
    return _add_blotches(canvas, 11, 0.14)


def _metal() -> Canvas:
    canvas = np.full((64, 64, CHANNELS), (150, 152, 155, 200, 0), np.float32)
    return _add_blotches(canvas, 12, 0.15)


def _sign() -> Canvas:
    """A white sign with a colored rim and a dark bar."""
    canvas = np.full((64, 64, CHANNELS), PAINT, np.float32)
    _fill(canvas, 0.16, 0.16, 0.84, 0.84, (240, 240, 240, 0, 0))
    _fill(canvas, 0.28, 0.42, 0.72, 0.58, (40, 40, 45, 0, 0))
    return canvas


def _leaves() -> Canvas:
    rng = np.random.default_rng(13)
    return _make_tintable(matte_texture((205, 205, 205), value_noise(rng, 128, (4, 8, 16, 32, 64), 0.9), 0.24))


def _bark() -> Canvas:
    rng = np.random.default_rng(14)
    return matte_texture((92, 72, 56), value_noise(rng, 64, (4, 8, 16, 32), 0.9), 0.25)


def _make_tintable(canvas: Canvas) -> Canvas:
    canvas[..., 3] = 255
    return canvas


def _checkerboard() -> Canvas:
    canvas = np.full((128, 128, CHANNELS), (250, 250, 250, 255, 0), np.float32)
    cells = np.add.outer(np.arange(128) // 32, np.arange(128) // 32) % 2 == 1
    canvas[cells, :3] *= 0.45
    return _add_blotches(canvas, 15, 0.16)


def _dots() -> Canvas:
    canvas = np.full((128, 128, CHANNELS), (235, 235, 235, 255, 0), np.float32)
    rng = np.random.default_rng(16)
    for _ in range(26):
        mask = np.zeros((128, 128), np.uint8)
        cv2.circle(mask, tuple(int(c) for c in rng.integers(8, 120, 2)), int(rng.integers(4, 11)), 1, -1)
        canvas[mask == 1, :3] = rng.uniform(60, 250)
    return _add_blotches(canvas, 17, 0.14)


def _waves() -> Canvas:
    u, v = np.meshgrid(np.arange(128) / 128, np.arange(128) / 128)
    tone = 180 + 60 * np.sin(2 * np.pi * (3 * u + 0.3 * np.sin(2 * np.pi * 2 * v))) * np.cos(2 * np.pi * 2 * v)
    canvas = np.full((128, 128, CHANNELS), PAINT, np.float32)
    canvas[..., :3] = tone[..., None]
    return _add_blotches(canvas, 18, 0.18)
