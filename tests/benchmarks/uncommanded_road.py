"""Things on the road that nobody commanded: where road should be seen, the picture does not move as the road does.

A ray that meets the ground before it crosses a boundary of the road sees the road, or what stands or drives on it.
Boxes and the shadows below them are left out, so whatever is not road there has no box. The commanded camera motion
carries the plane of the road from frame to frame; where a patch of the picture is found neither in an earlier nor in a
later frame at the place to which it takes the road, it is of no road: a parked car stands above it, one that drives at
the ego's speed does not move at all. Lines painted along the motion fit, as they should; points followed along them
would slide.

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
from driveforge.validation.catalog import NO_CAMERA_HEIGHT, ROAD_HIDDEN
from driveforge.validation.point_tracking.protocol import Mask
from driveforge.validation.records import TOO_FEW_FRAMES, Sample
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import REFERENCE_ROWS, CommandedCamera, View

NEAREST_M, FARTHEST_M = 3.0, 35.0
# Where no boundary of the road is known: the lane that the ego was told to drive, to either side of its path.
HALF_LANE_M = 1.5
FIRST, STRIDE, MAX_GAP = 4, 4, 8  # frames
WANTED_BASELINE_M = 4.0
# Lengths in the image, reference px.
PATCH, BLUR, CELL, MARGIN = 11, 1.2, 8, 9
# A patch is not road where it matches this badly, and differs by so much more than most of the road does.
MAX_MATCH, MIN_EXCESS = 0.5, 5.0
MIN_VISIBLE = 500.0  # reference px²
LEAST_NOISE = 1.0  # grey levels, squared

Image = NDArray[np.float32]


def uncommanded_sample(view: View, lanes: Sequence[Lane], boxes: Boxes | None) -> Sample | str:
    """The root of the area that moves otherwise than the road, without a box. Reference px.

    Of every few frames the largest connected area; of every two of them in a row the lesser counts, and of those the
    greatest. Why not, in its place, where it cannot be measured. It does not see what stands while the ego stands, and
    what is beside the road.
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
    """A view of ``shape`` (rows, columns), scaled to 256 rows where it has more, with the ``intrinsics`` of that."""

    view: View
    command: CommandedCamera
    boxes: Boxes | None
    intrinsics: Array
    shape: tuple[int, int]

    @property
    def scale(self) -> float:
        """Reference px in one px."""
        return REFERENCE_ROWS / self.shape[0]

    def odd(self, reference_px: float) -> int:
        """The odd number of px nearest to a length, 3 at least."""
        return max(3, 2 * round((reference_px / self.scale - 1) / 2) + 1)

    def gray(self, frame: int) -> Image:
        image = cv2.resize(self.view.gray[frame], self.shape[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), max(BLUR / self.scale, 0.6)), np.float32)

    def hidden(self, frame: int) -> NDArray[np.uint8]:
        """255 on boxes, on the shadows below them and close by, and at the edge, where patches are not whole."""
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
    # Pixel centres are integers, so the corner of the image lies half a pixel before the first.
    scaled = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
    return _Film(view=view, command=command, boxes=boxes, intrinsics=scaled @ command.intrinsics, shape=shape)


def _largest(film: _Film, frame: int, boundaries: Array) -> float | None:
    """Reference px² of the largest area that is found as road neither before ``frame`` nor after it."""
    others = [_frame_apart(film.command, frame, step) for step in (-1, 1)]
    normals = [_normal(film.command, frame, other) for other in others]
    road = _road(film, frame, normals[0], boundaries) & (film.hidden(frame) == 0)
    if road.sum() * film.scale**2 < MIN_VISIBLE:
        return None
    top = int(np.flatnonzero(road.any(1))[0])
    strange = road[top:]
    for other, normal in zip(others, normals, strict=True):
        strange = strange & _unlike_road(film, frame, other, normal, road, top)
    areas = cv2.connectedComponentsWithStats(strange.astype(np.uint8), connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    return int(areas.max(initial=0)) * film.scale**2


def _frame_apart(command: CommandedCamera, frame: int, step: int) -> int:
    """The first frame from which the camera was told to be ``WANTED_BASELINE_M`` away, or the last that is tried."""
    last = min(max(frame + step * MAX_GAP, 0), len(command.camera_to_world) - 1)
    tried = np.arange(frame + step, last + step, step)
    centres = command.camera_to_world[:, :3, 3]
    away = np.linalg.norm(centres[tried] - centres[frame], axis=1) >= WANTED_BASELINE_M
    return int(tried[np.argmax(away)] if away.any() else last)


def _normal(command: CommandedCamera, frame: int, other: int) -> Array:
    """Normal ``(3,)`` of the road in the camera of ``frame``; where the camera stands, any plane does."""
    if command.motion(frame, other).baseline < MIN_BASELINE_M:
        return np.asarray(command.up[frame])
    return road_normals(command, [(frame, other)])[0]


def _unlike_road(film: _Film, frame: int, other: int, normal: Array, road: Mask, top: int) -> Mask:
    """From row ``top`` down: where ``frame`` does not look as ``other`` does on the road there, though it is in view.

    The plane n'X = -h takes X to (R - t n' / h) X.
    """
    motion = film.command.motion(frame, other)
    plane = motion.rotation - np.outer(motion.translation, normal) / film.command.height[frame]
    box_motion = film.intrinsics @ plane @ np.linalg.inv(film.intrinsics)
    box_motion = box_motion @ np.array([[1.0, 0, 0], [0, 1.0, top], [0, 0, 1.0]])
    size = (film.shape[1], film.shape[0] - top)
    here, there = film.gray(frame)[top:], _warped(film.gray(other), box_motion, size, cv2.INTER_LINEAR)
    seen = road[top:] & (_warped(film.hidden(other), box_motion, size, cv2.INTER_NEAREST) == 0)
    if not seen.any():
        return seen
    side = film.odd(PATCH)
    mean_here, mean_there = cv2.blur(here, (side, side)), cv2.blur(there, (side, side))
    of_here = cv2.blur(here * here, (side, side)) - mean_here**2
    of_there = cv2.blur(there * there, (side, side)) - mean_there**2
    of_both = cv2.blur(here * there, (side, side)) - mean_here * mean_there
    difference = of_here + of_there - 2 * of_both
    usual = max(float(np.median(difference[seen])), LEAST_NOISE)
    match = of_both / np.sqrt(np.maximum(of_here * of_there, 0) + 1.0)
    return np.asarray(seen & (match < MAX_MATCH) & (difference > MIN_EXCESS * usual))


def _warped(image: NDArray[np.uint8] | Image, box_motion: Array, size: tuple[int, int], how: int) -> NDArray[Any]:
    """``image`` at the places to which ``box_motion`` takes the pixels of a picture of ``size``; its edge outside."""
    flags = how | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(image, box_motion, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _road(film: _Film, frame: int, normal: Array, boundaries: Array) -> Mask:
    """Where the ground is met before any of the ``boundaries`` ``(M, 2, 2)``, told for cells of some pixels."""
    cell = max(2, round(CELL / film.scale))
    rows, columns = (np.minimum(np.arange(0, side, cell) + cell // 2, side - 1) for side in film.shape)
    pixels = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    directions = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(film.intrinsics).T
    descent = -(directions @ normal)
    distance = film.command.height[frame] / np.maximum(descent, 1e-6)
    ground = (distance > NEAREST_M) & (distance < FARTHEST_M)
    to_world = film.command.camera_to_world[frame]
    met = (distance[ground, None] * directions[ground]) @ to_world[:3, :3].T + to_world[:3, 3]
    ground[ground] = ~_crosses(to_world[:2, 3], met[:, :2], boundaries)
    cells = ground.reshape(len(rows), len(columns)).astype(np.uint8)
    return np.asarray(cv2.resize(cells, film.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)


def _crosses(start: Array, ends: Array, boundaries: Array) -> Mask:
    """Whether the way from ``start`` ``(2,)`` to each of ``ends`` ``(N, 2)`` leads over a boundary ``(M, 2, 2)``."""
    first, along = boundaries[:, 0] - start, boundaries[:, 1] - boundaries[:, 0]
    ways = (ends - start)[:, None]
    turn = ways[..., 0] * along[:, 1] - ways[..., 1] * along[:, 0]
    turn = np.where(np.abs(turn) < 1e-9, np.inf, turn)
    on_way = (first[:, 0] * along[:, 1] - first[:, 1] * along[:, 0]) / turn
    on_boundary = (first[:, 0] * ways[..., 1] - first[:, 1] * ways[..., 0]) / turn
    return np.asarray(((on_way > 0) & (on_way < 1) & (on_boundary >= 0) & (on_boundary <= 1)).any(1))


def _boundaries(command: CommandedCamera, lanes: Sequence[Lane]) -> Array:
    """Segments ``(M, 2, 2)`` m, world, of the boundaries of the road; where none is known, round the ego's lane."""
    lines = [lane.points[:, :2] for lane in lanes if lane.kind == "boundary"]
    if not lines:
        path, ahead = command.camera_to_world[:, :2, 3], command.camera_to_world[:, :2, 2]
        left = np.stack([-ahead[:, 1], ahead[:, 0]], 1) / np.maximum(np.linalg.norm(ahead, axis=1), 1e-9)[:, None]
        lines = [np.concatenate([path + HALF_LANE_M * left, (path - HALF_LANE_M * left)[::-1]])]
    return np.concatenate([np.stack([line[:-1], line[1:]], 1) for line in lines])
