"""Retained detail inside boxes: the mean |Laplacian| of the last frames over that of the first.

Boxes that cross the image border count with their visible part, without pixels that nearer boxes cover. Recordings and
good clips retain 0.7 or more; a vehicle that loses its shape retains less.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array, box_corners, inverse, project
from driveforge.datasets.scene import Scene

# Share of the image; smaller boxes have no detail at this resolution.
MIN_AREA = 0.05
MIN_PIXELS = 64
MIN_FRAMES = 8
# Frames at either end of a box's track.
NUM_ENDS = 3
MIN_RETAINED = 0.7


def retained_detail(frames: NDArray[np.uint8], scene: Scene) -> list[float]:
    """Retained detail of every box of ``scene`` that is large at its end; ``frames`` is ``(T, H, W, 3)``."""
    laplacians = np.stack([_laplacian(frame) for frame in frames])
    retained = []
    for inside in visible_parts(scene):
        visible = np.flatnonzero(inside.sum((1, 2)) >= MIN_PIXELS)
        if len(visible) < MIN_FRAMES or inside[visible[-NUM_ENDS:]].mean() < MIN_AREA:
            continue
        early, late = (
            np.mean([laplacians[t][inside[t]].mean() for t in ends])
            for ends in (visible[:NUM_ENDS], visible[-NUM_ENDS:])
        )
        retained.append(float(late / early))
    return retained


def _laplacian(frame: NDArray[np.uint8]) -> Array:
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(np.abs(cv2.Laplacian(gray, cv2.CV_32F)), np.float64)


def visible_parts(scene: Scene) -> Iterator[NDArray[np.bool_]]:
    """For every box, the pixels ``(T, H, W)`` of its rectangle that no nearer rectangle covers."""
    rectangles, depths = _rectangles(scene)
    for number, (rectangle, depth) in enumerate(zip(rectangles, depths, strict=True)):
        others = np.delete(rectangles, number, 0), np.delete(depths, number, 0)
        nearer = others[0] & (others[1] < depth)[..., None, None]
        yield rectangle & ~nearer.any(0)


def _rectangles(scene: Scene) -> tuple[NDArray[np.bool_], Array]:
    """Masks ``(N, T, H, W)`` of the boxes' rectangles in the first camera, and their minimum depths ``(N, T)`` in m."""
    camera = scene.cameras[0]
    size = camera.height, camera.width
    masks = np.zeros((len(scene.tracks), scene.num_frames, *size), np.bool_)
    depths = np.full(masks.shape[:2], np.inf)
    world_to_camera = inverse(scene.camera_to_world(camera))
    for n, track in enumerate(scene.tracks):
        corners = box_corners(world_to_camera @ track.box_to_world, track.size)
        pixels, depth = project(corners, np.asarray(camera.intrinsics))
        for t in np.flatnonzero(track.present & ((depth > 0.3).sum(1) >= 4)):
            ahead = depth[t] > 0.3
            (x0, y0), (x1, y1) = (
                np.clip(ends, 0, (size[1], size[0])).round().astype(int)
                for ends in (pixels[t][ahead].min(0), pixels[t][ahead].max(0) + 1)
            )
            masks[n, t, y0:y1, x0:x1] = True
            depths[n, t] = depth[t][ahead].min()
    return masks, depths
