"""The layout video: 3D boxes and lane lines of a scene, projected into a camera."""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import BOX_FACES, Array, box_corners, inverse, transform
from driveforge.datasets.scene import Camera, Scene

NEAR_M = 0.5
FAR_M = 120.0

# RGB by prefix of the nuScenes category; the first match wins.
CATEGORY_COLORS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("vehicle.car", (235, 60, 60)),
    ("vehicle.truck", (235, 130, 40)),
    ("vehicle.bus", (240, 190, 40)),
    ("vehicle.bicycle", (60, 220, 120)),
    ("vehicle.motorcycle", (60, 220, 120)),
    ("vehicle", (200, 80, 80)),
    ("human", (70, 150, 250)),
    ("", (190, 90, 220)),
)
LANE_COLORS = {"boundary": (120, 120, 120), "divider": (250, 250, 250), "crossing": (60, 200, 220)}
LANE_WIDTH_M = 0.2

# Brightness of the faces +x (front), -x, +y, -y, +z (top), -z, which shows the heading of a box.
_FACE_SHADES = (1.0, 0.8, 0.55, 0.55, 0.9, 0.3)
_SUBPIXEL_BITS = 4


def render_layout(scene: Scene, camera: Camera) -> NDArray[np.uint8]:
    """Layout video ``(T, H, W, 3)`` uint8 RGB of ``camera``: lanes, then boxes from far to near.

    Raises UserError if the camera has no pose.
    """
    world_to_camera = inverse(scene.camera_to_world(camera))
    frames = np.zeros((scene.num_frames, camera.height, camera.width, 3), np.uint8)
    for t, image in enumerate(frames):
        for lane in scene.lanes:
            _draw_polyline(image, transform(world_to_camera[t], lane.points), camera, LANE_COLORS[lane.kind])
        boxes = [(world_to_camera[t] @ k.box_to_world[t], k.size, k.category) for k in scene.tracks if k.present[t]]
        for box_to_camera, size, category in sorted(boxes, key=lambda box: -np.linalg.norm(box[0][:3, 3])):
            if np.linalg.norm(box_to_camera[:3, 3]) < FAR_M:
                _draw_box(image, box_to_camera, size, camera, category_color(category))
    return frames


def category_color(category: str) -> tuple[int, int, int]:
    return next(color for prefix, color in CATEGORY_COLORS if category.startswith(prefix))


def _draw_box(
    image: NDArray[np.uint8], box_to_camera: Array, size: Array, camera: Camera, color: tuple[int, int, int]
) -> None:
    corners = box_corners(box_to_camera, size)
    center = corners.mean(0)
    for face, shade in zip(BOX_FACES, _FACE_SHADES, strict=True):
        quad = corners[list(face)]
        if (quad.mean(0) - center) @ quad.mean(0) < 0:  # the outward normal faces the camera, at the origin
            polygon = _pixels(clip_to_near_plane(quad, closed=True), camera)
            if len(polygon) >= 3:
                shaded = tuple(int(c * shade) for c in color)
                cv2.fillConvexPoly(image, polygon, shaded, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_polyline(image: NDArray[np.uint8], points: Array, camera: Camera, color: tuple[int, int, int]) -> None:
    focal = float(camera.intrinsics[0, 0])  # type: ignore[index]
    for a, b in itertools.pairwise(points):
        segment = clip_to_near_plane(np.stack([a, b]), closed=False)
        if len(segment) == 2 and segment[:, 2].min() < FAR_M:
            thickness = max(1, round(LANE_WIDTH_M * focal / float(segment[:, 2].mean())))
            p, q = _pixels(segment, camera)
            cv2.line(image, p.tolist(), q.tolist(), color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def clip_to_near_plane(points: Array, *, closed: bool) -> Array:
    """Clip a camera-frame polygon or open line ``(N, 3)`` at depth ``NEAR_M`` (Sutherland and Hodgman 1974)."""
    kept: list[Array] = []
    for i in range(len(points) if closed else len(points) - 1):
        a, b = points[i], points[(i + 1) % len(points)]
        if a[2] >= NEAR_M:
            kept.append(a)
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            kept.append(a + (b - a) * (NEAR_M - a[2]) / (b[2] - a[2]))
    if not closed and points[-1, 2] >= NEAR_M:
        kept.append(points[-1])
    return np.array(kept).reshape(-1, 3)


def _pixels(points: Array, camera: Camera) -> NDArray[np.int32]:
    """Fixed-point pixels for OpenCV's drawing functions, clamped to avoid overflow."""
    homogeneous = points @ camera.intrinsics.T  # type: ignore[union-attr]
    pixels = homogeneous[:, :2] / homogeneous[:, 2:]
    return np.asarray(np.round(np.clip(pixels, -8000, 8000) * 2**_SUBPIXEL_BITS), np.int32)
