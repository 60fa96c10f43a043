"""A clip and its conditions as pixels: what the VAE encodes, computed without the VAE and without torch."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.cells import average_over_cells
from driveforge.datasets.conditioning.layout import render_layout
from driveforge.datasets.conditioning.rays import plucker_rays
from driveforge.datasets.conditioning.warp import warp_frame
from driveforge.datasets.scene import Scene

# The channels of ``PixelClip.cells``: share warped, share boxed, six of the rays.
CELL_CHANNELS = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PixelClip:
    """The view of a calibrated camera: ``images`` (3,T,H,W,3) uint8 are frames, warped first frame, and layout.

    ``cells`` (8,T,h,w) float16 holds, by cell of the latent grid, the share that the first frame is warped to, the
    share that shows a box, and the Plücker rays.
    """

    images: NDArray[np.uint8]
    cells: NDArray[np.float16]


def make_pixel_clip(scene: Scene, frames: NDArray[np.uint8], cell: int) -> PixelClip:
    """The first camera of ``scene``, which has an ego pose, with its ``frames`` (T,H,W,3); ``cell`` is in pixels."""
    camera = scene.cameras[0]
    warped, is_warped = warp_frame(frames[0], scene, camera)
    warped[0], is_warped[0] = frames[0], True
    boxed = render_layout(replace(scene, lanes=()), camera).any(-1)
    shares = np.stack([average_over_cells(mask, cell) for mask in (is_warped, boxed)])
    return PixelClip(
        images=np.stack([frames, warped, render_layout(scene, camera)]),
        cells=np.concatenate([shares, plucker_rays(scene, camera, cell)]).astype(np.float16),
    )
