"""Textures, and the texture atlas of the renderer: five channels, mip-mapped, packed into one flat array.

Channels are red, green, blue, *paint* (how strongly the tint of the part applies) and *glow* (how strongly the surface
emits light), all in 0..255. Textures are square with a side that is a power of two, and tile seamlessly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CHANNELS = 5
MAX_LEVELS = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Atlas:
    """``texels`` is flat; ``levels[i, l]`` is (start, side) of mip level ``l`` of texture ``i = index[name]``."""

    texels: NDArray[np.uint8]
    levels: NDArray[np.int64]
    index: Mapping[str, int]


def pack_atlas(textures: Mapping[str, NDArray[np.float32]]) -> Atlas:
    """Pack named textures ``(n, n, 5)`` with all their mip levels (box-filtered; Williams 1983)."""
    levels = np.zeros((len(textures), MAX_LEVELS, 2), np.int64)
    chunks: list[NDArray[np.uint8]] = []
    start = 0
    for i, texture in enumerate(textures.values()):
        image = texture
        for level in range(MAX_LEVELS):
            texels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
            levels[i, level] = start, len(texels)
            chunks.append(texels.reshape(-1))
            start += texels.size
            if len(image) > 1:
                image = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
    return Atlas(texels=np.concatenate(chunks), levels=levels, index={name: i for i, name in enumerate(textures)})


def value_noise(
    rng: np.random.Generator, side: int, octaves: tuple[int, ...], decay: float = 0.7
) -> NDArray[np.float32]:
    """Tiling value noise ``(side, side)``, mean 0 and standard deviation 1; ``octaves`` are cells per side, coarse
    first."""
    out = np.zeros((side, side), np.float32)
    amplitude = 1.0
    for cells in octaves:
        lattice = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), ((0, 1), (0, 1)), mode="wrap")
        at = (np.arange(side, dtype=np.float32) / side) * cells
        u, v = np.meshgrid(at, at)
        out += np.float32(amplitude) * cv2.remap(lattice, u, v, cv2.INTER_LINEAR)
        amplitude *= decay
    return np.asarray((out - out.mean()) / out.std(), np.float32)


def matte_texture(
    color: tuple[float, float, float], relief: NDArray[np.float32], contrast: float
) -> NDArray[np.float32]:
    """A matte texture ``(n, n, 5)``: ``color`` in 0..255, modulated by ``contrast`` times ``relief`` ``(n, n)``."""
    canvas = np.zeros((*relief.shape, CHANNELS), np.float32)
    canvas[..., :3] = np.asarray(color, np.float32) * (1 + np.float32(contrast) * relief[..., None])
    return np.clip(canvas, 0, 255)
