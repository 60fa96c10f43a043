"""Plücker coordinates of the camera ray through every latent cell."""

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import inverse, pixel_rays
from driveforge.datasets.scene import Camera, Scene

# Moments grow with the distance traveled; this divisor keeps them near one over a clip.
MOMENT_SCALE_M = 10.0


def plucker_rays(scene: Scene, camera: Camera, cell: int) -> NDArray[np.float32]:
    """Plücker coordinates ``(6, T, H // cell, W // cell)`` of the ray through each cell's center.

    Channels are the unit direction d and the moment o x d / 10 m, both in the ego frame of the first frame
    (Plücker 1865; used for camera conditioning by Sitzmann et al. 2021, arXiv 2106.02634). Needs a camera pose.
    """
    camera_to_start = inverse(scene.ego_to_world[0]) @ scene.camera_to_world(camera)  # type: ignore[index]
    directions = _cell_directions(camera, cell) @ np.swapaxes(camera_to_start[:, None, :3, :3], -1, -2)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    origins = camera_to_start[:, None, None, :3, 3] / MOMENT_SCALE_M
    moments = np.cross(np.broadcast_to(origins, directions.shape), directions)
    return np.asarray(np.concatenate([directions, moments], -1).transpose(3, 0, 1, 2), np.float32)


def _cell_directions(camera: Camera, cell: int) -> NDArray[np.float64]:
    """Camera-frame directions ``(h, w, 3)`` through cell centers; cell k covers pixels k*cell .. k*cell + cell - 1."""
    assert camera.intrinsics is not None
    # The center of cell k is at pixel k * cell + (cell - 1) / 2, so cell coordinates are (u + 0.5) / cell - 0.5.
    to_cells = np.array([[1 / cell, 0, 0.5 / cell - 0.5], [0, 1 / cell, 0.5 / cell - 0.5], [0, 0, 1]])
    return pixel_rays(to_cells @ camera.intrinsics, camera.height // cell, camera.width // cell)
