"""Carrying a known frame along the commanded motion: what the later frames would show if the world were simple.

The world is taken to be flat ground, upright walls some metres beside the commanded path, and the commanded boxes. Each
pixel of a later frame is traced into that world and back into the known frame. Whatever depth the walls guess, a static
point moves along its true epipolar line, so what is carried agrees with the commanded pose exactly; the model has to
mend depth, fill in what was hidden, and sharpen. Rendering a geometric cache as a condition follows GEN3C (Ren et al.
2025, arXiv 2503.03751), with a proxy in the place of estimated depth, so that it needs no weights.
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
_REACH_M = 120.0
_DEFAULT_CAMERA_HEIGHT_M = 1.5
_GROUND = -1
# Beyond this magnification a carried surface has no detail left to show, and a small model sharpens it into nothing.
MAX_STRETCH = 2.0
# A point of a box further behind what the known frame shows there is on a side that was turned away.
SIDE_SLACK_M = 0.4


def carry_frame(
    image: NDArray[np.uint8], scene: Scene, camera: Camera, start: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """``image`` ``(H, W, 3)``, taken at frame ``start``, as seen from every later frame.

    Returns frames ``(T - start, H, W, 3)`` uint8 and a mask ``(T - start, H, W)``, True where the known frame shows
    that very surface point, at no less than half of the resolution. The rest is a guess: ground and walls go on under
    the vehicles that hid them and past the image's edge, and a side of a vehicle that was turned away has the mean
    color of what was seen of it. A UserError where the scene has no pose.
    """
    camera_to_start = inverse(scene.camera_to_world(camera)[start]) @ scene.camera_to_world(camera)[start:]
    ego_to_camera = inverse(np.asarray(camera.camera_to_ego).reshape(-1, 4, 4)[0])
    level = _level_frame(ego_to_camera)
    poses = inverse(level) @ camera_to_start
    path = (inverse(level) @ camera_to_start @ ego_to_camera)[:, :2, 3]
    to_level = inverse(level) @ inverse(scene.camera_to_world(camera)[start])
    boxes, sizes, seen = _boxes(scene, start, to_level)
    height, width = image.shape[:2]
    maps = np.empty((len(poses), height, width, 2), np.float32)
    known, turned_away = np.zeros(maps.shape[:3], np.bool_), np.zeros(maps.shape[:3], np.bool_)
    owners = np.empty(maps.shape[:3], np.int64)
    depths = np.empty((height, width))
    intrinsics = np.asarray(camera.intrinsics)
    cameras = (intrinsics, np.linalg.inv(intrinsics))
    scenery = (boxes, sizes, seen, _distance_to_path(path))
    _trace(maps, known, turned_away, owners, depths, poses, cameras, *scenery)
    on_box = owners >= 0
    frames = np.where(on_box[..., None], _pull(image, maps), _pull(_without_boxes(image, on_box[0]), maps))
    frames[turned_away] = _box_colors(image, owners[0], len(boxes))[owners[turned_away]]
    known &= _resolution(maps) * MAX_STRETCH >= 1
    return frames, known


def _resolution(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Source pixels per pixel ``(T, H, W)`` of ``maps`` ``(T, H, W, 2)``, along the direction that is stretched most.

    The smaller singular value of the Jacobian J: of J^T J = [[a, b], [b, c]], half of a + c - sqrt((a - c)^2 + 4 b^2)
    is its square.
    """
    down, right = np.gradient(maps, axis=(1, 2))
    a, c, b = (right**2).sum(-1), (down**2).sum(-1), (right * down).sum(-1)
    return np.asarray(np.sqrt(np.maximum(a + c - np.sqrt((a - c) ** 2 + 4 * b**2), 0) / 2), np.float32)


def _pull(image: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``image`` at the pixels of ``maps`` ``(T, H, W, 2)``; its edge goes on outside."""
    pulled = [cv2.remap(image, m[..., 0], m[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for m in maps]
    return np.asarray(np.stack(pulled), np.uint8)


def _without_boxes(image: NDArray[np.uint8], boxed: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """``image`` with its vehicles painted over by what surrounds them (Telea 2004)."""
    hidden = cv2.dilate(boxed.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.inpaint(image, hidden, 3, cv2.INPAINT_TELEA), np.uint8)


def _box_colors(image: NDArray[np.uint8], owners: NDArray[np.int64], num_boxes: int) -> NDArray[np.uint8]:
    """Mean color ``(N, 3)`` of what ``image`` shows of each box, that of the image where it shows nothing of it."""
    colors = np.tile(image.reshape(-1, 3).mean(0), (num_boxes, 1))
    for box in np.unique(owners[owners >= 0]):
        colors[box] = image[owners == box].mean(0)
    return colors.round().astype(np.uint8)


def _level_frame(ego_to_camera: Array) -> Array:
    """Pose level_to_camera of a frame with the ego's axes, right below the camera on the ground."""
    height = inverse(ego_to_camera)[2, 3]
    if height < 0.3:  # the ego frame is the camera's own, as on hand-held rigs
        height = _DEFAULT_CAMERA_HEIGHT_M
    level = ego_to_camera.copy()
    level[:3, 3] = ego_to_camera[:3, :3] @ np.array([0, 0, -height])
    return level


def _boxes(scene: Scene, start: int, to_level: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Of what exists from ``start`` on: poses ``(N, T, 4, 4)`` box to level, sizes ``(N, 3)``, presence ``(N, T)``."""
    tracks = [track for track in scene.tracks if track.present[start:].any()]
    if not tracks:
        num = scene.num_frames - start
        return np.zeros((0, num, 4, 4)), np.zeros((0, 3)), np.zeros((0, num), np.bool_)
    poses = to_level @ np.stack([track.box_to_world[start:] for track in tracks])
    # Annotated boxes hug the object; a little slack keeps its outline on the object and off the ground behind it.
    sizes = np.stack([track.size for track in tracks]) * 1.06
    return poses, sizes, np.stack([track.present[start:] for track in tracks])


def _distance_to_path(path: Array) -> NDArray[np.float32]:
    """Distance in metres to the path, on a grid of ``_CELL_M`` around the level frame's origin.

    ``path`` ``(T, 2)`` is carried on straight at both ends.
    """
    heading = path[-1] - path[max(0, len(path) - 4)]
    norm = float(np.linalg.norm(heading))
    heading = heading / norm if norm > 0.3 else np.array([1.0, 0.0])
    line = np.concatenate([path[:1] - [[_REACH_M, 0]], path, path[-1:] + heading * _REACH_M])
    size = int(2 * _REACH_M / _CELL_M)
    canvas = np.full((size, size), 255, np.uint8)
    # The grid's row is x and its column is y; OpenCV wants (column, row).
    points = np.round((line[:, ::-1] + _REACH_M) / _CELL_M).astype(np.int32)
    cv2.polylines(canvas, [points.reshape(-1, 1, 2)], False, 0, 1)
    return np.asarray(cv2.distanceTransform(canvas, cv2.DIST_L2, 5) * _CELL_M, np.float32)


@numba.njit(cache=True, nogil=True)
def _rotate(pose, vector, out):  # type: ignore[no-untyped-def]
    """``out`` = rotation of ``pose`` times ``vector``; written out, since a matrix product allocates at every pixel."""
    for k in range(3):
        out[k] = pose[k, 0] * vector[0] + pose[k, 1] * vector[1] + pose[k, 2] * vector[2]


@numba.njit(cache=True, nogil=True)
def _unmove(pose, point, out):  # type: ignore[no-untyped-def]
    """``out`` = ``point`` in the frame that ``pose`` maps from."""
    for k in range(3):
        out[k] = 0.0
        for j in range(3):
            out[k] += pose[j, k] * (point[j] - pose[j, 3])


@numba.njit(cache=True, nogil=True)
def _hit_box(origin, direction, box, size):  # type: ignore[no-untyped-def]
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
def _nearest(origin, direction, boxes, sizes, seen, t, distance):  # type: ignore[no-untyped-def]
    """Owner (box index, ground or backdrop) and distance of the first thing a ray meets in the proxy world."""
    owner, depth = _GROUND, BACKDROP_M
    if direction[2] < -1e-6:
        depth = min(depth, -origin[2] / direction[2])
    flat = np.sqrt(direction[0] ** 2 + direction[1] ** 2) + 1e-9
    s = 0.5
    for _ in range(40):  # sphere tracing towards the wall (Hart 1996); the distance to the path bounds each step
        row = int((origin[0] + s * direction[0] + _REACH_M) / _CELL_M)
        column = int((origin[1] + s * direction[1] + _REACH_M) / _CELL_M)
        if s >= depth or row < 0 or column < 0 or row >= distance.shape[0] or column >= distance.shape[1]:
            break
        gap = WALL_DISTANCE_M - distance[row, column]
        if gap <= 0.1:
            depth = s
            break
        s += max(gap, 0.25) / flat
    for i in range(len(sizes)):
        if seen[i, t]:
            entry = _hit_box(origin, direction, boxes[i, t], sizes[i])
            if entry < depth:
                owner, depth = i, entry
    return owner, depth


@numba.njit(cache=True, nogil=True)
def _trace(maps, known, turned_away, owners, depths, poses, cameras, boxes, sizes, seen, distance):  # type: ignore[no-untyped-def]
    """Fill ``maps`` ``(T, H, W, 2)`` with the pixel of frame 0 under each later pixel.

    ``owners`` ``(T, H, W)`` is what each pixel shows, ``known`` whether frame 0 shows that very point, ``turned_away``
    whether it is a box's and lies outside of frame 0 or behind what that shows; ``depths`` ``(H, W)`` along the optical
    axis are those of frame 0. ``cameras`` are the intrinsics and their inverse.
    """
    intrinsics, inverse_intrinsics = cameras
    num_frames, height, width = maps.shape[:3]
    ray, direction, point, local, seen_at = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for t in range(num_frames):
        origin = poses[t, :3, 3]
        for v in range(height):
            for u in range(width):
                for k in range(3):
                    ray[k] = inverse_intrinsics[k, 0] * u + inverse_intrinsics[k, 1] * v + inverse_intrinsics[k, 2]
                _rotate(poses[t], ray, direction)
                owner, depth = _nearest(origin, direction, boxes, sizes, seen, t, distance)
                owners[t, v, u] = owner
                if t == 0:
                    depths[v, u] = depth
                if owner >= 0 and not seen[owner, 0]:  # it appears later: nothing of it can be carried
                    turned_away[t, v, u], maps[t, v, u, 0], maps[t, v, u, 1] = True, u, v
                    continue
                for k in range(3):
                    point[k] = origin[k] + depth * direction[k]
                if owner >= 0:  # the point rides on its box, back to where the box was
                    _unmove(boxes[owner, t], point, local)
                    _rotate(boxes[owner, 0], local, point)
                    for k in range(3):
                        point[k] += boxes[owner, 0, k, 3]
                _unmove(poses[0], point, seen_at)
                ahead = max(seen_at[2], 0.2)
                x = (intrinsics[0, 0] * seen_at[0] + intrinsics[0, 1] * seen_at[1]) / ahead + intrinsics[0, 2]
                y = intrinsics[1, 1] * seen_at[1] / ahead + intrinsics[1, 2]
                column, row = round(x), round(y)
                inside = seen_at[2] > 0.2 and 0 <= column < width and 0 <= row < height
                known[t, v, u] = inside and owners[0, row, column] == owner
                if owner >= 0:
                    behind = inside and owners[0, row, column] >= 0 and seen_at[2] > depths[row, column] + SIDE_SLACK_M
                    turned_away[t, v, u] = behind or not inside
                    known[t, v, u] &= not behind
                maps[t, v, u, 0] = min(max(x, 0.0), width - 1.0)
                maps[t, v, u, 1] = min(max(y, 0.0), height - 1.0)
