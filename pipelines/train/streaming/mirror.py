"""Mirror images of clips, which double the pool for the price of encoding them."""

import re

import torch
from torch import Tensor

from driveforge.datasets.conditioning.pixel_clip import CELL_CHANNELS

# Mirrored at the plane y = 0 of the ego frame, a direction changes the sign of y; a moment o x d, as a cross product,
# that of x and z.
_CELL_SIGNS = (1, 1, 1, -1, 1, -1, 1, -1)
_OTHER_SIDE = {"left": "right", "right": "left"}


def mirror_images(images: Tensor) -> Tensor:
    """``(..., H, W, 3)`` with left and right exchanged."""
    return images.flip(-2)


def mirror_cells(cells: Tensor) -> Tensor:
    """``PixelClip.cells`` ``(N, 8, T, h, w)`` of the mirrored clip."""
    signs = torch.tensor(_CELL_SIGNS, dtype=cells.dtype, device=cells.device).view(1, CELL_CHANNELS, 1, 1, 1)
    return cells.flip(-1) * signs


def mirror_caption(caption: str) -> str:
    return re.sub("left|right", lambda match: _OTHER_SIDE[match[0]], caption)
