"""Textures that are randomized per world: asphalt, sidewalks, verges, facades, floors and walls."""

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.simulation.atlas import CHANNELS, matte_texture, value_noise
from driveforge.datasets.simulation.static_textures import static_textures

Canvas = NDArray[np.float32]
NUM_FACADES = 4


def make_textures(with_interior: bool, seed: int) -> dict[str, Canvas]:
    """All textures of a world by name; ``with_interior`` adds a floor and a wall."""
    rng = np.random.default_rng((seed, 7))
    return _street_textures(rng) | (_interior_textures(rng) if with_interior else {})


def _street_textures(rng: np.random.Generator) -> dict[str, Canvas]:
    """All textures of a street: the static ones and the randomized ones."""
    street_textures = {
        "noise": _noise_texture(value_noise(rng, 256, (4, 8, 16, 32, 64), 0.62)),
        "asphalt": asphalt(rng),
        "verge": _verge(rng),
        "sidewalk": slabs(rng, rng.uniform(120, 185), 8),
        "curb": slabs(rng, rng.uniform(150, 200), 4),
        "plaster": _make_tintable(matte_texture((225, 225, 225), value_noise(rng, 64, (4, 8, 16, 32), 0.8), 0.07)),
        "tiles": _tiles(rng),
    }
    street_textures |= {f"facade{i}": facade(rng) for i in range(NUM_FACADES)}
    return static_textures() | street_textures


def _interior_textures(rng: np.random.Generator) -> dict[str, Canvas]:
    """One of several floors, and a wall."""
    floors = (_verge, _planks, lambda r: slabs(r, r.uniform(110, 190), 8), asphalt)
    return {"floor": floors[int(rng.integers(len(floors)))](rng), "wall": _wallpaper(rng)}


def _planks(rng: np.random.Generator) -> Canvas:
    """Floor boards of different tones, with grain and dark joints."""
    tone = np.array([170, 124, 82]) * rng.uniform(0.6, 1.15)
    grain = cv2.resize(
        value_noise(rng, 256, (32, 64, 128), 0.9)[:, ::8].copy(), (256, 256), interpolation=cv2.INTER_LINEAR
    )
    boards = np.repeat(rng.normal(1, 0.1, 8), 32).astype(np.float32)[:, None, None]
    canvas = matte_texture(tuple(tone), grain + value_noise(rng, 256, (4, 8, 16), 0.8) * 0.6, 0.1) * boards
    canvas[np.arange(256) % 32 < 2, :, :3] *= 0.5
    for row in range(8):
        seam = int(rng.integers(256))
        canvas[row * 32 : row * 32 + 32, seam : seam + 2, :3] *= 0.5
    return np.clip(canvas, 0, 255)


def _wallpaper(rng: np.random.Generator) -> Canvas:
    """A wall with blotches, stripes, a baseboard and framed pictures."""
    canvas = _make_tintable(matte_texture((225, 225, 225), value_noise(rng, 256, (4, 8, 16, 32, 64), 0.8), 0.06))
    if rng.random() < 0.5:
        canvas[:, np.arange(256) % 32 < 10, :3] *= np.float32(rng.uniform(0.75, 0.92))
    for _ in range(int(rng.integers(2, 6))):
        x, y = int(rng.integers(10, 200)), int(rng.integers(70, 150))
        w, h = (int(v) for v in rng.integers(18, 46, 2))
        canvas[y - 3 : y + h + 3, x - 3 : x + w + 3] = (60, 45, 35, 0, 0)
        picture = matte_texture(tuple(rng.uniform(60, 220, 3)), value_noise(rng, 64, (4, 8, 16), 0.9), 0.3)
        canvas[y : y + h, x : x + w] = picture[:h, :w]
    canvas[-8:, :, :3] *= 0.55
    return canvas


def _noise_texture(relief: NDArray[np.float32]) -> Canvas:
    return matte_texture((128, 128, 128), relief, 0.4)


def _make_tintable(canvas: Canvas) -> Canvas:
    canvas[..., 3] = 255
    return canvas


def asphalt(rng: np.random.Generator) -> Canvas:
    """Grain at several scales, stains, filled cracks and rectangular patches."""
    tone = rng.uniform(72, 118)
    grain = value_noise(rng, 512, (8, 16, 32, 64, 128, 256), 0.92)
    canvas = matte_texture((tone, tone * 1.0, tone * rng.uniform(0.98, 1.04)), grain, rng.uniform(0.11, 0.19))
    for _ in range(int(rng.integers(3, 8))):
        x, y = rng.integers(0, 440, 2)
        w, h = rng.integers(16, 70, 2)
        canvas[y : y + h, x : x + w, :3] *= rng.uniform(0.72, 1.16)
    for _ in range(int(rng.integers(5, 12))):
        steps = np.cumsum(rng.normal(0, 7, (24, 2)) + rng.normal(0, 5, 2), 0) + rng.uniform(100, 400, 2)
        crack = np.zeros((512, 512), np.uint8)
        cv2.polylines(crack, [np.round(steps).astype(np.int32).reshape(-1, 1, 2)], False, 1, 2)
        canvas[crack == 1, :3] *= rng.uniform(0.55, 0.75)
    stains = np.zeros((512, 512), np.float32)
    for _ in range(int(rng.integers(8, 20))):
        center = tuple(int(c) for c in rng.integers(40, 470, 2))
        axes = tuple(int(c) for c in rng.integers(4, 26, 2))
        cv2.ellipse(stains, center, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(-0.15, 0.3)), -1)
    canvas[..., :3] *= 1 - cv2.GaussianBlur(stains, (0, 0), 2)[..., None]
    _add_debris(canvas, rng)
    return np.clip(canvas, 0, 255)


def _add_debris(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add small trackable details: oil drops, light stones, patches and a manhole cover."""
    for _ in range(int(rng.integers(50, 110))):
        x, y = (int(v) for v in rng.integers(8, 504, 2))
        speck = np.zeros((16, 16), np.float32)
        cv2.ellipse(
            speck, (8, 8), tuple(int(v) for v in rng.integers(2, 6, 2)), float(rng.uniform(0, 180)), 0, 360, 1.0, -1
        )
        strength = float(rng.choice([-0.45, -0.3, 0.3, 0.5])) * speck
        canvas[y - 8 : y + 8, x - 8 : x + 8, :3] *= 1 + strength[..., None]
    x, y = (int(v) for v in rng.integers(30, 480, 2))
    cover = np.zeros(canvas.shape[:2], np.float32)
    cv2.circle(cover, (x, y), 17, 0.35, -1)
    cv2.circle(cover, (x, y), 17, 0.6, 2)
    canvas[..., :3] *= 1 - cover[..., None]


def slabs(rng: np.random.Generator, tone: float, cells: int) -> Canvas:
    """Paving slabs of different tones, with dark joints."""
    tones = np.kron(rng.normal(1, 0.06, (cells, cells)), np.ones((256 // cells, 256 // cells))).astype(np.float32)
    canvas = (
        matte_texture((tone, tone * 0.98, tone * 0.95), value_noise(rng, 256, (16, 32, 64, 128), 0.9), 0.07)
        * tones[..., None]
    )
    joint = np.arange(256) % (256 // cells) < 3
    canvas[joint, :, :3] *= 0.7
    canvas[:, joint, :3] *= 0.7
    return np.clip(canvas, 0, 255)


def _verge(rng: np.random.Generator) -> Canvas:
    """Grass, dry grass, gravel or paved ground."""
    colors = ((72, 104, 48), (96, 118, 60), (134, 122, 80), (128, 124, 116))
    color = np.array(colors[int(rng.integers(len(colors)))]) * rng.uniform(0.85, 1.15)
    return matte_texture(
        tuple(color), value_noise(rng, 512, (4, 8, 16, 32, 64, 128, 256), 0.95), rng.uniform(0.16, 0.24)
    )


def _tiles(rng: np.random.Generator) -> Canvas:
    canvas = _make_tintable(matte_texture((215, 215, 215), value_noise(rng, 128, (8, 16, 32, 64), 0.9), 0.1))
    canvas[np.arange(128) % 16 < 3, :, :3] *= 0.7
    return canvas


def facade(rng: np.random.Generator) -> Canvas:
    """A tintable wall with 2 or 4 columns and rows of windows, some of them lit."""
    canvas = _make_tintable(
        matte_texture((225, 225, 225), value_noise(rng, 256, (4, 8, 16, 32, 64), 0.85), rng.uniform(0.04, 0.09))
    )
    if rng.random() < 0.4:
        canvas[np.arange(256) % 8 < 1, :, :3] *= 0.86
    columns, rows = int(rng.choice([2, 4])), int(rng.choice([2, 4]))
    width, height = rng.uniform(0.4, 0.75), rng.uniform(0.42, 0.68)
    style = rng.uniform(0.7, 1.25)
    for i in range(columns):
        for j in range(rows):
            _window(
                canvas,
                rng,
                (i + 0.5 - width / 2) / columns,
                (j + 0.5 - height / 2) / rows,
                width / columns,
                height / rows,
                style,
            )
    if rng.random() < 0.5:
        for j in range(rows):
            edge = round(256 * j / rows)
            canvas[edge : edge + 5, :, :3] *= rng.uniform(0.6, 0.85)
    return canvas


def _window(
    canvas: Canvas, rng: np.random.Generator, u: float, v: float, width: float, height: float, style: float
) -> None:
    n = len(canvas)
    x0, y0, x1, y1 = round(u * n), round(v * n), round((u + width) * n), round((v + height) * n)
    canvas[y0 - 3 : y1 + 5, x0 - 3 : x1 + 3, :3] = min(200 * style, 250)
    canvas[y0 - 3 : y1 + 5, x0 - 3 : x1 + 3, 3] = 90
    tone = rng.uniform(35, 85)
    glass = np.array([tone, tone * 1.1, tone * 1.25, 0, 0])
    if rng.random() < 0.45:
        glass = np.array([225, 195, 130, 0, rng.uniform(150, 255)])
        glass[:3] *= rng.uniform(0.3, 0.45)  # without glow, a lit window is as dark as the others
    canvas[y0:y1, x0:x1] = glass.astype(np.float32)
    canvas[y0 : y0 + (y1 - y0) // 4, x0:x1, :3] *= np.float32(rng.uniform(1.0, 1.5))
    canvas[y0:y1, (x0 + x1) // 2 - 1 : (x0 + x1) // 2 + 1, :CHANNELS] = canvas[y0 - 2, x0]
