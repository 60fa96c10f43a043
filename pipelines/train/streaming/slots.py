"""Shared memory in which a renderer process places clips, so that pixels are not sent between processes."""

import math
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.pixel_clip import CELL_CHANNELS
from driveforge.datasets.framing import Framing

# The side of a latent cell, of every VAE that pretraining makes.
CELL_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class ClipSlots:
    """Memory for clips, ``images`` (slots,3,T,H,W,3) uint8 and ``cells`` (slots,8,T,h,w) float16, as in ``PixelClip``.

    The memory has no name and no file, so that the system frees it with the last process, also after SIGKILL.
    """

    count: int
    framing: Framing
    _images: Any
    _cells: Any

    @classmethod
    def allocate(cls, context: SpawnContext, count: int, framing: Framing) -> "ClipSlots":
        slots = cls(count, framing, None, None)
        image_bytes, num_cells = (math.prod(shape) for shape in (slots._image_shape, slots._cell_shape))
        return cls(count, framing, context.RawArray("B", image_bytes), context.RawArray("H", num_cells))

    @property
    def images(self) -> NDArray[np.uint8]:
        return np.frombuffer(self._images, np.uint8).reshape(self._image_shape)

    @property
    def cells(self) -> NDArray[np.float16]:
        return np.frombuffer(self._cells, np.float16).reshape(self._cell_shape)

    @property
    def _image_shape(self) -> tuple[int, ...]:
        f = self.framing
        return (self.count, 3, f.num_frames, f.height, f.width, 3)

    @property
    def _cell_shape(self) -> tuple[int, ...]:
        f = self.framing
        return (self.count, CELL_CHANNELS, f.num_frames, f.height // CELL_PX, f.width // CELL_PX)
