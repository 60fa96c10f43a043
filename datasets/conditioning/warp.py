"""Warping of a known frame to later camera poses, with a proxy geometry instead of estimated depth.

The proxy world is flat ground, vertical walls at a fixed distance from the ego path, and the scene's boxes. Each pixel
of a later frame is traced into that world and back into the known frame. Even if the proxy depth is wrong, a static
point moves along its true epipolar line, so the warp is consistent with the camera pose; the model has to correct
depth, fill in occluded regions and sharpen. Conditioning on a rendered geometric cache follows GEN3C (Ren et al. 2025,
arXiv 2503.03751).
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array, inverse
from driveforge.datasets.scene import Camera, Scene

WALL_DISTANCE_M = 11.0
BACKDROP_M = 90.0
_CELL_M = 0.5
_GRID_EXTENT_M = 120.0
_DEFAULT_CAMERA_HEIGHT_M = 1.5
_GROUND = -1
# Beyond this magnification, a warped surface has too little detail for the model to sharpen.
MAX_MAGNIFICATION = 2.0
# A box point that is behind the known frame's surface by more than this is on a hidden side of the box.
OCCLUSION_TOLERANCE_M = 0.4


def warp_frame(
    image: NDArray[np.uint8], scene: Scene, camera: Camera, start: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Warp ``image`` ``(H, W, 3)`` uint8, taken at frame ``start``, to the camera poses of frames ``start`` to T - 1.

    Returns frames ``(T - start, H, W, 3)`` uint8 and a mask ``(T - start, H, W)``, True where the known frame shows the
    same surface point at no less than half the resolution. Other pixels are filled: ground and walls behind vehicles by
    inpainting, beyond the image by its edge, and hidden sides of a box by its mean color. Raises UserError if the
    camera has no pose.
    """
    camera_to_start = inverse(scene.camera_to_world(camera)[start]) @ scene.camera_to_world(camera)[start:]
    ego_to_camera = inverse(np.asarray(camera.camera_to_ego).reshape(-1, 4, 4)[0])
    level = _level_to_camera(ego_to_camera)
    poses = inverse(level) @ camera_to_start
    path = (inverse(level) @ camera_to_start @ ego_to_camera)[:, :2, 3]
    to_level = inverse(level) @ inverse(scene.camera_to_world(camera)[start])
    boxes, sizes, present = _collect_boxes(scene, start, to_level)
    height, width = image.shape[:2]
    maps = np.empty((len(poses), height, width, 2), np.float32)
    valid, self_occluded = np.zeros(maps.shape[:3], np.bool_), np.zeros(maps.shape[:3], np.bool_)
    surface_ids = np.empty(maps.shape[:3], np.int64)
    depths = np.empty((height, width))
    intrinsics = np.asarray(camera.intrinsics)
    cameras = (intrinsics, np.linalg.inv(intrinsics))
    proxy_world = (boxes, sizes, present, _distance_to_path(path))
    _trace_pixels(maps, valid, self_occluded, surface_ids, depths, poses, cameras, *proxy_world)
    on_box = surface_ids >= 0
    frames = np.where(on_box[..., None], _remap(image, maps), _remap(_inpaint_boxes(image, on_box[0]), maps))
    frames[self_occluded] = _mean_box_colors(image, surface_ids[0], len(boxes))[surface_ids[self_occluded]]
    valid &= _sampling_density(maps) * MAX_MAGNIFICATION >= 1
    return frames, valid


def _sampling_density(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Source pixels per target pixel ``(T, H, W)`` of ``maps`` ``(T, H, W, 2)``, along the most stretched direction.

    This is the smaller singular value of the Jacobian J of the map. With J^T J = [[a, b], [b, c]], its square is
    (a + c - sqrt((a - c)^2 + 4 b^2)) / 2.
    """
    down, right = np.gradient(maps, axis=(1, 2))
    a, c, b = (right**2).sum(-1), (down**2).sum(-1), (right * down).sum(-1)
    return np.asarray(np.sqrt(np.maximum(a + c - np.sqrt((a - c) ** 2 + 4 * b**2), 0) / 2), np.float32)


def _remap(image: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``image`` sampled at the pixels (u, v) of ``maps`` ``(T, H, W, 2)``, with its edge replicated outside."""
    remapped = [cv2.remap(image, m[..., 0], m[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for m in maps]
    return np.asarray(np.stack(remapped), np.uint8)


def _inpaint_boxes(image: NDArray[np.uint8], box_mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """``image`` with the pixels of boxes inpainted from their surroundings (Telea 2004)."""
    hidden = cv2.dilate(box_mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.inpaint(image, hidden, 3, cv2.INPAINT_TELEA), np.uint8)


def _mean_box_colors(image: NDArray[np.uint8], surface_ids: NDArray[np.int64], num_boxes: int) -> NDArray[np.uint8]:
    """Mean color ``(N, 3)`` of each box in ``image``, or of the whole image for a box that is not visible."""
    colors = np.tile(image.reshape(-1, 3).mean(0), (num_boxes, 1))
    for box in np.unique(surface_ids[surface_ids >= 0]):
        colors[box] = image[surface_ids == box].mean(0)
    return colors.round().astype(np.uint8)


def _level_to_camera(ego_to_camera: Array) -> Array:
    """Pose ``(4, 4)`` of the level frame in the camera: ego axes, origin on the ground below the camera."""
    height = inverse(ego_to_camera)[2, 3]
    if height < 0.3:  # the ego frame is at the camera, as for hand-held cameras
        height = _DEFAULT_CAMERA_HEIGHT_M
    level = ego_to_camera.copy()
    level[:3, 3] = ego_to_camera[:3, :3] @ np.array([0, 0, -height])
    return level


def _collect_boxes(scene: Scene, start: int, to_level: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Boxes present from ``start`` on: poses box to level ``(N, T, 4, 4)``, sizes ``(N, 3)`` m, presence ``(N, T)``."""
    tracks = [track for track in scene.tracks if track.present[start:].any()]
    if not tracks:
        num = scene.num_frames - start
        return np.zeros((0, num, 4, 4)), np.zeros((0, 3)), np.zeros((0, num), np.bool_)
    poses = to_level @ np.stack([track.box_to_world[start:] for track in tracks])
    # Annotated boxes are tight; a margin keeps the outline of an object on its box instead of the ground behind it.
    sizes = np.stack([track.size for track in tracks]) * 1.06
    return poses, sizes, np.stack([track.present[start:] for track in tracks])


def _distance_to_path(path: Array) -> NDArray[np.float32]:
    """Distance in meters to the path, on a grid with cells of ``_CELL_M`` around the origin of the level frame.

    ``path`` ``(T, 2)`` m is extended straight at both ends.
    """
    heading = path[-1] - path[max(0, len(path) - 4)]
    norm = float(np.linalg.norm(heading))
    heading = heading / norm if norm > 0.3 else np.array([1.0, 0.0])
    line = np.concatenate([path[:1] - [[_GRID_EXTENT_M, 0]], path, path[-1:] + heading * _GRID_EXTENT_M])
    size = int(2 * _GRID_EXTENT_M / _CELL_M)
    canvas = np.full((size, size), 255, np.uint8)
    # Rows of the grid are x and columns are y; OpenCV takes (column, row).
    points = np.round((line[:, ::-1] + _GRID_EXTENT_M) / _CELL_M).astype(np.int32)
    cv2.polylines(canvas, [points.reshape(-1, 1, 2)], False, 0, 1)
    return np.asarray(cv2.distanceTransform(canvas, cv2.DIST_L2, 5) * _CELL_M, np.float32)


@numba.njit(cache=True, nogil=True)
def _rotate(pose, vector, out):  # type: ignore[no-untyped-def]
    """``out`` = rotation of ``pose`` times ``vector``, without the allocation of a matrix product."""
    for k in range(3):
        out[k] = pose[k, 0] * vector[0] + pose[k, 1] * vector[1] + pose[k, 2] * vector[2]


@numba.njit(cache=True, nogil=True)
def _apply_inverse(pose, point, out):  # type: ignore[no-untyped-def]
    """``out`` = inverse of ``pose`` applied to ``point``."""
    for k in range(3):
        out[k] = 0.0
        for j in range(3):
            out[k] += pose[j, k] * (point[j] - pose[j, 3])


@numba.njit(cache=True, nogil=True)
def _intersect_box(origin, direction, box, size):  # type: ignore[no-untyped-def]
    """Entry distance of a ray into a box, or inf (slab test, Kay and Kajiya 1986)."""
    near, far = 0.2, np.inf
    for axis in range(3):
        o = 0.0
        d = 0.0
        for k in range(3):
            o += box[k, axis] * (origin[k] - box[k, 3])
            d += box[k, axis] * direction[k]
        half = size[axis] / 2
        if abs(d) < 1e-9:
            if abs(o) > half:
                return np.inf
            continue
        a, b = (-half - o) / d, (half - o) / d
        near, far = max(near, min(a, b)), min(far, max(a, b))
    return near if near < far else np.inf


@numba.njit(cache=True, nogil=True)
def _intersect_nearest(origin, direction, boxes, sizes, present, t, distance):  # type: ignore[no-untyped-def]
    """Surface id and distance, in units of ``direction``, of the first surface that a ray hits in the proxy world.

    The surface id is the index of a box, or ``_GROUND`` for everything static: ground, walls and backdrop.
    """
    surface_id, depth = _GROUND, BACKDROP_M
    if direction[2] < -1e-6:
        depth = min(depth, -origin[2] / direction[2])
    flat = np.sqrt(direction[0] ** 2 + direction[1] ** 2) + 1e-9
    s = 0.5
    # Sphere tracing toward the walls (Hart 1996): the horizontal distance to a wall is at least the wall distance
    # minus the distance to the path, so a step of that length cannot cross the wall.
    for _ in range(40):
        row = int((origin[0] + s * direction[0] + _GRID_EXTENT_M) / _CELL_M)
        column = int((origin[1] + s * direction[1] + _GRID_EXTENT_M) / _CELL_M)
        if s >= depth or row < 0 or column < 0 or row >= distance.shape[0] or column >= distance.shape[1]:
            break
        gap = WALL_DISTANCE_M - distance[row, column]
        if gap <= 0.1:
            depth = s
            break
        s += max(gap, 0.25) / flat
    for i in range(len(sizes)):
        if present[i, t]:
            entry = _intersect_box(origin, direction, boxes[i, t], sizes[i])
            if entry < depth:
                surface_id, depth = i, entry
    return surface_id, depth


@numba.njit(cache=True, nogil=True)
def _trace_pixels(maps, valid, self_occluded, surface_ids, depths, poses, cameras, boxes, sizes, present, distance):  # type: ignore[no-untyped-def]
    """Fill ``maps`` ``(T, H, W, 2)`` with the pixel (u, v) of frame 0 that each pixel comes from.

    ``surface_ids`` ``(T, H, W)`` are the surfaces that pixels show; ``valid`` is True if frame 0 shows the same point;
    ``self_occluded`` is True for points of a box that are outside frame 0 or on a hidden side in it. ``depths``
    ``(H, W)`` are those of frame 0 along the optical axis. ``cameras`` are the intrinsics and their inverse.
    """
    intrinsics, inverse_intrinsics = cameras
    num_frames, height, width = maps.shape[:3]
    ray, direction, point, local, source_point = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for t in range(num_frames):
        origin = poses[t, :3, 3]
        for v in range(height):
            for u in range(width):
                for k in range(3):
                    ray[k] = inverse_intrinsics[k, 0] * u + inverse_intrinsics[k, 1] * v + inverse_intrinsics[k, 2]
                _rotate(poses[t], ray, direction)
                surface_id, depth = _intersect_nearest(origin, direction, boxes, sizes, present, t, distance)
                surface_ids[t, v, u] = surface_id
                if t == 0:
                    depths[v, u] = depth
                if surface_id >= 0 and not present[surface_id, 0]:  # a box that appears later has no source
                    self_occluded[t, v, u], maps[t, v, u, 0], maps[t, v, u, 1] = True, u, v
                    continue
                for k in range(3):
                    point[k] = origin[k] + depth * direction[k]
                if surface_id >= 0:  # move the point with its box, back to the pose of the box in frame 0
                    _apply_inverse(boxes[surface_id, t], point, local)
                    _rotate(boxes[surface_id, 0], local, point)
                    for k in range(3):
                        point[k] += boxes[surface_id, 0, k, 3]
                _apply_inverse(poses[0], point, source_point)
                source_depth = max(source_point[2], 0.2)
                x = (
                    intrinsics[0, 0] * source_point[0] + intrinsics[0, 1] * source_point[1]
                ) / source_depth + intrinsics[0, 2]
                y = intrinsics[1, 1] * source_point[1] / source_depth + intrinsics[1, 2]
                column, row = round(x), round(y)
                inside = source_point[2] > 0.2 and 0 <= column < width and 0 <= row < height
                valid[t, v, u] = inside and surface_ids[0, row, column] == surface_id
                if surface_id >= 0:
                    is_occluded = (
                        inside
                        and surface_ids[0, row, column] >= 0
                        and source_point[2] > depths[row, column] + OCCLUSION_TOLERANCE_M
                    )
                    self_occluded[t, v, u] = is_occluded or not inside
                    valid[t, v, u] &= not is_occluded
                maps[t, v, u, 0] = min(max(x, 0.0), width - 1.0)
                maps[t, v, u, 1] = min(max(y, 0.0), height - 1.0)
