"""Detection of uncommanded objects: image regions of the road that do not move like the ground plane.

A ray that hits the ground before it crosses a road boundary shows the road, or an object on it. Boxes and the shadows
below them are masked, so any object there has no box. The commanded camera motion maps the road plane from frame to
frame. A patch that matches neither an earlier nor a later frame at the mapped position is not road: a parked car is
above the plane, and a car at the ego's speed does not move in the image. Lane markings along the motion match, as they
should, although points tracked along them would slide.

Source: the inverse perspective mapping test for obstacles (Bertozzi and Broggi, "GOLD", IEEE Transactions on Image
Processing 1998), with two frames in place of two cameras and the motion as commanded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Lane
from driveforge.validation.camera.pairs import MIN_BASELINE_M
from driveforge.validation.camera.road import road_normals
from driveforge.validation.camera.scale import MIN_HEIGHT_M
from driveforge.validation.measure_tables.pose import NO_CAMERA_HEIGHT, ROAD_HIDDEN
from driveforge.validation.point_tracking.protocol import Mask
from driveforge.validation.records import TOO_FEW_FRAMES, Sample
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import REFERENCE_ROWS, CommandedCamera, View

NEAREST_M, FARTHEST_M = 3.0, 35.0
# Half the width of the lane around the ego path, used if no road boundary is known.
HALF_LANE_M = 1.5
FIRST, STRIDE, MAX_GAP = 4, 4, 8  # frames
TARGET_BASELINE_M = 4.0
# Lengths in the image, reference px.
PATCH, BLUR, CELL, MARGIN = 11, 1.2, 8, 9
# A patch is not road if its correlation is below MAX_MATCH and its difference exceeds MIN_EXCESS times the median.
MAX_MATCH, MIN_EXCESS = 0.5, 5.0
MIN_VISIBLE = 500.0  # reference px²
MIN_NOISE = 1.0  # gray levels, squared

Image = NDArray[np.float32]


def uncommanded_sample(view: View, lanes: Sequence[Lane], boxes: Boxes | None) -> Sample | str:
    """The square root of the area without a box that does not move like the road, in reference px.

    The largest connected area of every fourth frame, then the minimum of successive frames, then the maximum of these.
    Returns the reason if it cannot be measured. Static objects are not detected while the ego is at rest, nor objects
    off the road.
    """
    if view.command is None:
        return view.reason
    if view.command.height.min() < MIN_HEIGHT_M:
        return NO_CAMERA_HEIGHT
    film, boundaries = _film(view, view.command, boxes), _boundaries(view.command, lanes)
    tried = range(FIRST, view.num_frames - FIRST + 1, STRIDE)
    if len(tried) < 2:
        return TOO_FEW_FRAMES
    areas = [(frame, area) for frame in tried if (area := _largest(film, frame, boundaries)) is not None]
    if len(areas) < 2:
        return ROAD_HIDDEN
    return max(
        (Sample(value=min(a, b) ** 0.5, frames=(first, last)) for (first, a), (last, b) in pairwise(areas)),
        key=lambda sample: sample.value,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Film:
    """A view scaled to at most 256 rows: ``shape`` (rows, columns) and ``intrinsics`` are those after scaling."""

    view: View
    command: CommandedCamera
    boxes: Boxes | None
    intrinsics: Array
    shape: tuple[int, int]

    @property
    def scale(self) -> float:
        """Reference px per px."""
        return REFERENCE_ROWS / self.shape[0]

    def odd(self, reference_px: float) -> int:
        """A length as an odd number of px, at least 3."""
        return max(3, 2 * round((reference_px / self.scale - 1) / 2) + 1)

    def gray(self, frame: int) -> Image:
        image = cv2.resize(self.view.gray[frame], self.shape[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), max(BLUR / self.scale, 0.6)), np.float32)

    def hidden(self, frame: int) -> NDArray[np.uint8]:
        """255 on dilated boxes with shadows, and at the image border, where patches are incomplete."""
        mask = np.zeros(self.shape, np.uint8)
        margin = self.odd(MARGIN)
        if self.boxes:
            boxes = self.boxes.mask_with_shadows(frame, (self.view.gray.shape[1], self.view.gray.shape[2]))
            boxes = cv2.resize(boxes, self.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint8)
            mask = np.asarray(cv2.dilate(boxes, np.ones((margin, margin), np.uint8)), np.uint8)
        mask[:margin], mask[-margin:], mask[:, :margin], mask[:, -margin:] = 255, 255, 255, 255
        return mask


def _film(view: View, command: CommandedCamera, boxes: Boxes | None) -> _Film:
    height, width = view.gray.shape[1:]
    shrunk = min(1.0, REFERENCE_ROWS / height)
    shape = (round(height * shrunk), max(round(width * shrunk), 1))
    across, down = shape[1] / width, shape[0] / height
    # Pixel centers are integers, so the image corner is at -0.5.
    scaled = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
    return _Film(view=view, command=command, boxes=boxes, intrinsics=scaled @ command.intrinsics, shape=shape)


def _largest(film: _Film, frame: int, boundaries: Array) -> float | None:
    """The largest area, in reference px², that matches the road neither before ``frame`` nor after it."""
    others = [_frame_apart(film.command, frame, step) for step in (-1, 1)]
    normals = [_normal(film.command, frame, other) for other in others]
    road = _road(film, frame, normals[0], boundaries) & (film.hidden(frame) == 0)
    if road.sum() * film.scale**2 < MIN_VISIBLE:
        return None
    top = int(np.flatnonzero(road.any(1))[0])
    unmatched = road[top:]
    for other, normal in zip(others, normals, strict=True):
        unmatched = unmatched & _unlike_road(film, frame, other, normal, road, top)
    areas = cv2.connectedComponentsWithStats(unmatched.astype(np.uint8), connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    return int(areas.max(initial=0)) * film.scale**2


def _frame_apart(command: CommandedCamera, frame: int, step: int) -> int:
    """The first frame at a commanded distance of ``TARGET_BASELINE_M``, or the last candidate frame."""
    last = min(max(frame + step * MAX_GAP, 0), len(command.camera_to_world) - 1)
    tried = np.arange(frame + step, last + step, step)
    centers = command.camera_to_world[:, :3, 3]
    away = np.linalg.norm(centers[tried] - centers[frame], axis=1) >= TARGET_BASELINE_M
    return int(tried[np.argmax(away)] if away.any() else last)


def _normal(command: CommandedCamera, frame: int, other: int) -> Array:
    """The road normal ``(3,)`` in the camera of ``frame``; any normal does if the camera is at rest."""
    if command.motion(frame, other).baseline < MIN_BASELINE_M:
        return np.asarray(command.up[frame])
    return road_normals(command, [(frame, other)])[0]


def _unlike_road(film: _Film, frame: int, other: int, normal: Array, road: Mask, top: int) -> Mask:
    """Mask from row ``top`` down: road pixels of ``frame`` that are visible in ``other`` but do not match it.

    Points on the plane n'X = -h satisfy -n'X / h = 1, so X' = R X + t = (R - t n' / h) X, a homography.
    """
    motion = film.command.motion(frame, other)
    plane = motion.rotation - np.outer(motion.translation, normal) / film.command.height[frame]
    homography = film.intrinsics @ plane @ np.linalg.inv(film.intrinsics)
    homography = homography @ np.array([[1.0, 0, 0], [0, 1.0, top], [0, 0, 1.0]])
    size = (film.shape[1], film.shape[0] - top)
    here, there = film.gray(frame)[top:], _warped(film.gray(other), homography, size, cv2.INTER_LINEAR)
    visible = road[top:] & (_warped(film.hidden(other), homography, size, cv2.INTER_NEAREST) == 0)
    if not visible.any():
        return visible
    side = film.odd(PATCH)
    mean_here, mean_there = cv2.blur(here, (side, side)), cv2.blur(there, (side, side))
    variance_here = cv2.blur(here * here, (side, side)) - mean_here**2
    variance_there = cv2.blur(there * there, (side, side)) - mean_there**2
    covariance = cv2.blur(here * there, (side, side)) - mean_here * mean_there
    # The variance of the difference of both patches, and their normalized cross-correlation.
    difference = variance_here + variance_there - 2 * covariance
    typical = max(float(np.median(difference[visible])), MIN_NOISE)
    match = covariance / np.sqrt(np.maximum(variance_here * variance_there, 0) + 1.0)
    return np.asarray(visible & (match < MAX_MATCH) & (difference > MIN_EXCESS * typical))


def _warped(image: NDArray[np.uint8] | Image, homography: Array, size: tuple[int, int], how: int) -> NDArray[Any]:
    """``image`` sampled at the positions to which ``homography`` maps the pixels of a picture of ``size``."""
    flags = how | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(image, homography, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _road(film: _Film, frame: int, normal: Array, boundaries: Array) -> Mask:
    """Mask of rays that hit the ground before any of the ``boundaries`` ``(M, 2, 2)``, computed per cell."""
    cell = max(2, round(CELL / film.scale))
    rows, columns = (np.minimum(np.arange(0, side, cell) + cell // 2, side - 1) for side in film.shape)
    pixels = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    directions = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(film.intrinsics).T
    descent = -(directions @ normal)
    distance = film.command.height[frame] / np.maximum(descent, 1e-6)
    ground = (distance > NEAREST_M) & (distance < FARTHEST_M)
    to_world = film.command.camera_to_world[frame]
    hits = (distance[ground, None] * directions[ground]) @ to_world[:3, :3].T + to_world[:3, 3]
    ground[ground] = ~_crosses(to_world[:2, 3], hits[:, :2], boundaries)
    cells = ground.reshape(len(rows), len(columns)).astype(np.uint8)
    return np.asarray(cv2.resize(cells, film.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)


def _crosses(start: Array, ends: Array, boundaries: Array) -> Mask:
    """Whether the segments from ``start`` ``(2,)`` to ``ends`` ``(N, 2)`` cross a boundary ``(M, 2, 2)``."""
    first, along = boundaries[:, 0] - start, boundaries[:, 1] - boundaries[:, 0]
    segments = (ends - start)[:, None]
    turn = segments[..., 0] * along[:, 1] - segments[..., 1] * along[:, 0]
    turn = np.where(np.abs(turn) < 1e-9, np.inf, turn)
    on_segment = (first[:, 0] * along[:, 1] - first[:, 1] * along[:, 0]) / turn
    on_boundary = (first[:, 0] * segments[..., 1] - first[:, 1] * segments[..., 0]) / turn
    return np.asarray(((on_segment > 0) & (on_segment < 1) & (on_boundary >= 0) & (on_boundary <= 1)).any(1))


def _boundaries(command: CommandedCamera, lanes: Sequence[Lane]) -> Array:
    """Segments ``(M, 2, 2)`` of the road boundaries, world frame, m; if none is known, those of the ego lane."""
    lines = [lane.points[:, :2] for lane in lanes if lane.kind == "boundary"]
    if not lines:
        path, ahead = command.camera_to_world[:, :2, 3], command.camera_to_world[:, :2, 2]
        left = np.stack([-ahead[:, 1], ahead[:, 0]], 1) / np.maximum(np.linalg.norm(ahead, axis=1), 1e-9)[:, None]
        lines = [np.concatenate([path + HALF_LANE_M * left, (path - HALF_LANE_M * left)[::-1]])]
    return np.concatenate([np.stack([line[:-1], line[1:]], 1) for line in lines])
