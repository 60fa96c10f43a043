"""Masks of pixels on the latent grid."""

import numpy as np
from numpy.typing import NDArray


def average_over_cells(mask: NDArray[np.bool_], cell: int) -> NDArray[np.float32]:
    """``mask`` (T,H,W) averaged over square cells of ``cell`` pixels: (T, H // cell, W // cell)."""
    length, height, width = mask.shape
    cells = mask.reshape(length, height // cell, cell, width // cell, cell)
    return np.asarray(cells.mean((2, 4), dtype=np.float32))
