"""The upright faces of boxes, rectified: the same texel is the same place on a vehicle in every frame.

Each texel is projected exactly, so that boxes which the image edge cuts, or which are partly behind the camera, are
rectified as far as they are visible. Texels outside of the image and behind nearer boxes are masked. People and riders
do not fill the faces of their boxes: the plane through the center of the box that faces the camera is used instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.layout import NEAR_M
from driveforge.datasets.geometry import Array, inverse, project, transform
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import CommandedCamera, View

TEXELS = 24  # per side
MAX_OBJECTS = 10  # the largest ones
MIN_VISIBLE_ROWS = 0.1  # root of the visible area of a box, share of the image's rows
MIN_VISIBLE_TEXELS = 0.3  # share
MIN_AREA_PX, MIN_AREA_SHARE = 30.0, 0.003  # visible area of a face: px of the image, share of its rows squared
MIN_COSINE = 0.25  # between the face's normal and the direction to the camera
MIN_PX_PER_TEXEL = 8 / TEXELS
OUTLINE_SHARE = 0.02  # of the rows: the border of a nearer box, which is excluded
# The four vertical faces (+x, -x, +y, -y in the box frame); top and bottom are seen at a grazing angle.
_NORMALS = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
_NOBODY, _OUTLINE = -1, -2

FaceKey = tuple[int, int]  # index of the track, index of the face (of a person: always ``TOWARD_CAMERA``)
TOWARD_CAMERA = len(_NORMALS)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Face:
    """One face in one frame: ``texture`` ``(TEXELS, TEXELS, 3)`` RGB in gray levels, ``visible`` ``(TEXELS, TEXELS)``.

    The first row is the top. ``px_per_texel`` is the image resolution along the shorter axis; ``direction`` ``(3,)`` is
    the unit vector from the face to the camera in the box frame, and ``cosine`` that of its angle to the face's normal.
    """

    frame: int
    texture: NDArray[np.float32]
    visible: NDArray[np.bool_]
    px_per_texel: float
    direction: Array
    cosine: float

    @property
    def detail_weight(self) -> float:
        """How much of the face the view shows: visible texels times their resolution (beyond 1 px it gains nothing)."""
        return float(self.visible.sum()) * min(self.px_per_texel, 1.0) ** 2


def rectify_faces(view: View, command: CommandedCamera, boxes: Boxes) -> dict[FaceKey, list[Face]]:
    """The sufficiently visible faces of the largest objects, in time order."""
    is_large = _is_large(view, boxes)
    faces: dict[FaceKey, list[Face]] = {}
    for frame in map(int, np.flatnonzero(is_large.any(1))):
        owners = _owners(boxes, frame, (view.gray.shape[1], view.gray.shape[2]))
        pyramid = [view.frames[frame]]
        for box_index in map(int, np.flatnonzero(is_large[frame])):
            for number, face in _rectify_box(view, command, owners, pyramid, frame, box_index):
                faces.setdefault((box_index, number), []).append(face)
    return faces


def _is_large(view: View, boxes: Boxes) -> NDArray[np.bool_]:
    """``(T, N)``: the objects that are rectified in each frame, at most ``MAX_OBJECTS`` of the clip."""
    visible_size = np.where(boxes.is_in_image, boxes.visible_size, 0.0)
    is_large = visible_size > MIN_VISIBLE_ROWS * view.gray.shape[1]
    largest = np.argsort(-visible_size.max(0), kind="stable")[:MAX_OBJECTS]
    return np.asarray(is_large & np.isin(np.arange(len(view.tracks)), largest))


def _owners(boxes: Boxes, frame: int, shape: tuple[int, int]) -> NDArray[np.int16]:
    """``(H, W)``: the index of the nearest box at each pixel; negative outside of boxes and on their outlines."""
    owners = np.full(shape, _NOBODY, np.int16)
    thickness = 2 * max(1, round(OUTLINE_SHARE * shape[0])) + 1
    for box_index in np.argsort(-boxes.distance[frame], kind="stable"):
        hull = boxes.hulls[frame][box_index]
        if hull is not None:
            cv2.polylines(owners, [hull], True, _OUTLINE, thickness)
            cv2.fillConvexPoly(owners, hull, int(box_index))
    return owners


def _rectify_box(
    view: View,
    command: CommandedCamera,
    owners: NDArray[np.int16],
    pyramid: list[NDArray[np.uint8]],
    frame: int,
    box_index: int,
) -> list[tuple[int, Face]]:
    """The faces of one box that face the camera; ``pyramid`` has the frame and its halves, and grows if needed."""
    track = view.tracks[box_index]
    box_to_camera = inverse(command.camera_to_world[frame]) @ track.box_to_world[frame]
    camera_in_box = inverse(box_to_camera)[:3, 3]
    faces = []
    planes = [_toward_camera(camera_in_box, track.size)] if is_person(track) else _facing(camera_in_box, track.size)
    for number, direction, cosine, texels in planes:
        points = transform(box_to_camera, texels.reshape(-1, 3))
        pixels, depth = project(points, command.intrinsics)
        pixels = np.where(depth[:, None] > NEAR_M, pixels, -1e4).clip(-1e4, 1e4).reshape(TEXELS, TEXELS, 2)
        visible = _is_visible(pixels, owners, box_index)
        resolution = _resolution(pixels, visible)
        if resolution is None:
            continue
        area_per_texel, px_per_texel = resolution
        min_area = max(MIN_AREA_PX, MIN_AREA_SHARE * len(owners) ** 2)
        if area_per_texel * visible.sum() < min_area or px_per_texel < MIN_PX_PER_TEXEL:
            continue
        face = Face(
            frame=frame,
            texture=_sample(pyramid, pixels, np.sqrt(area_per_texel)),
            visible=visible,
            px_per_texel=px_per_texel,
            direction=direction,
            cosine=cosine,
        )
        faces.append((number, face))
    return faces


# Index of a face, direction to the camera, cosine, and texel centers ``(TEXELS, TEXELS, 3)`` m in the box frame.
_Plane = tuple[int, Array, float, Array]


def _facing(camera_in_box: Array, size: Array) -> list[_Plane]:
    """The upright faces of a box that face the camera at ``camera_in_box`` ``(3,)``."""
    planes = []
    for number, normal in enumerate(_NORMALS):
        to_camera = camera_in_box - normal * size / 2
        direction = to_camera / max(float(np.linalg.norm(to_camera)), 1e-6)
        cosine = float(direction @ normal)
        if cosine >= MIN_COSINE:
            along = np.array([abs(normal[1]), abs(normal[0]), 0.0]) * size
            planes.append((number, direction, cosine, _texel_centers(normal * size / 2, along, size[2])))
    return planes


def _toward_camera(camera_in_box: Array, size: Array) -> _Plane:
    """The upright plane through the center of a box that faces the camera, as wide as the longer side of the box."""
    heading = np.array([camera_in_box[0], camera_in_box[1], 0.0])
    heading /= max(float(np.linalg.norm(heading)), 1e-6)
    along = np.array([-heading[1], heading[0], 0.0]) * max(size[0], size[1])
    return TOWARD_CAMERA, heading, 1.0, _texel_centers(np.zeros(3), along, size[2])


def _texel_centers(center: Array, along: Array, height: float) -> Array:
    """``(TEXELS, TEXELS, 3)`` m in the box frame; rows go down, columns in the direction of ``along``."""
    steps = (np.arange(TEXELS) + 0.5) / TEXELS - 0.5
    columns, up = np.meshgrid(steps, -steps)
    return np.asarray(center + columns[..., None] * along + up[..., None] * np.array([0.0, 0.0, height]))


def _is_visible(pixels: Array, owners: NDArray[np.int16], box_index: int) -> NDArray[np.bool_]:
    height, width = owners.shape
    inside = ((pixels >= 1) & (pixels <= [width - 2, height - 2])).all(-1)
    x, y = np.moveaxis(np.round(pixels).astype(int), -1, 0)
    return np.asarray(inside & (owners[y.clip(0, height - 1), x.clip(0, width - 1)] == box_index))


def _resolution(pixels: Array, visible: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean area of a visible texel, px², and the shorter of its mean side lengths, px; None if too few are visible."""
    cells = visible[:-1, :-1]
    if visible.mean() < MIN_VISIBLE_TEXELS or not cells.any():
        return None
    right, down = np.diff(pixels, axis=1)[:-1][cells], np.diff(pixels, axis=0)[:, :-1][cells]
    area = float(np.abs(right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]).mean())
    sides = (float(np.linalg.norm(right, axis=1).mean()), float(np.linalg.norm(down, axis=1).mean()))
    return area, min(np.sqrt(area), *sides)


def _sample(pyramid: list[NDArray[np.uint8]], pixels: Array, px_per_texel: float) -> NDArray[np.float32]:
    """The image at ``pixels``, from the level of the pyramid whose pixels are about as large as a texel."""
    level = int(np.clip(round(np.log2(max(px_per_texel, 1.0))), 0, 3))
    while len(pyramid) <= level:
        pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1])))
    at = ((pixels + 0.5) / 2**level - 0.5).astype(np.float32)
    sampled = cv2.remap(pyramid[level], at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32)
