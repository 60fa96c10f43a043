"""The commanded boxes projected into the image, and which of them are sufficiently visible to be measured."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.layout import NEAR_M, clip_to_near_plane
from driveforge.datasets.geometry import BOX_FACES, Array, box_corners, inverse, project
from driveforge.validation.views.view import CommandedCamera, View

FAR_M = 120.0
MIN_ROWS = 6.0  # px of the image
MIN_ROWS_SHARE = 0.05
# A box that the image edge cuts more than this is measured if its visible part is large.
MIN_IN_VIEW = 0.75
MIN_CUT_SHARE = 0.125  # size of the visible part, share of the image's rows
MAX_OCCLUDED = 0.35
# Of the height of the box in the image: the extent of the shadow or the mirror image below a moving vehicle.
SHADOW = 0.7
MOVING_M = 0.5
EDGE_SHARE = 0.008  # of the image's rows: the border of a nearer box, which is excluded from both boxes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Boxes:
    """Every track's box in every frame of a view: ``T`` frames, ``N`` tracks.

    ``corners`` ``(T, N, 8, 2)`` px are valid only for boxes entirely in front of the camera; ``rectangle``
    ``(T, N, 4)`` is x0, y0, x1, y1 of the part in front of the camera, zeros if there is none; ``distance`` ``(T, N)``
    m; ``size`` ``(T, N)`` px is the root of the area of the rectangle's part inside the image. ``in_view`` ``(T, N)``
    is the share of the rectangle inside the image, ``visibility`` that which is also not behind nearer boxes.
    ``judged`` ``(T, N)``: the part in view is large enough and hardly occluded by nearer boxes. ``is_moving`` ``(N,)``:
    the box moves in the world. ``hulls`` by frame and track are the convex outlines in the image, None outside of it.
    """

    corners: Array
    rectangle: Array
    distance: Array
    size: Array
    in_view: Array
    visibility: Array
    judged: NDArray[np.bool_]
    is_moving: NDArray[np.bool_]
    hulls: tuple[tuple[NDArray[np.int32] | None, ...], ...]

    @property
    def visible_size(self) -> Array:
        """Root of the visible area ``(T, N)`` px."""
        return np.asarray(self.size * np.sqrt(self.visibility / np.maximum(self.in_view, 1e-6)))

    @property
    def is_in_image(self) -> NDArray[np.bool_]:
        """``(T, N)``: whether the image shows any part of the box, hidden or not."""
        return np.array([[hull is not None for hull in row] for row in self.hulls], np.bool_)

    def mask(self, frame: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """255 where a box covers the image of ``frame``."""
        mask = np.zeros(shape, np.uint8)
        for hull in self.hulls[frame]:
            if hull is not None:
                cv2.fillConvexPoly(mask, hull, 255)
        return mask

    def mask_with_shadows(self, frame: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """The mask of the boxes and of the ground below moving ones, where shadows and reflections move with them."""
        mask = self.mask(frame, shape)
        for hull, is_moving in zip(self.hulls[frame], self.is_moving, strict=True):
            if hull is not None and is_moving:
                below = hull + np.array([0, round(SHADOW * float(np.ptp(hull[:, 0, 1])))], np.int32)
                cv2.fillConvexPoly(mask, cv2.convexHull(np.concatenate([hull, below])), 255)
        return mask

    def track_mask(self, frame: int, track: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """255 where the box of one track, slightly shrunken, covers the image and no nearer box does."""
        mask = np.zeros(shape, np.uint8)
        hull = self.hulls[frame][track]
        if hull is None:
            return mask
        cv2.fillConvexPoly(mask, _shrink_hull(hull, 0.92), 255)
        for other, other_hull in enumerate(self.hulls[frame]):
            if other_hull is not None and self.distance[frame, other] < self.distance[frame, track]:
                cv2.fillConvexPoly(mask, other_hull, 0)
                cv2.polylines(mask, [other_hull], True, 0, 2 * max(1, round(EDGE_SHARE * shape[0])) + 1)
        return mask


def project_boxes(view: View) -> Boxes | None:
    """The boxes of a view; None if it has no pose or its scene has no tracks."""
    if view.command is None or not view.tracks:
        return None
    shape = view.gray.shape[1:]
    to_camera = inverse(view.command.camera_to_world)[:, None] @ np.stack([k.box_to_world for k in view.tracks], 1)
    in_camera = box_corners(to_camera, np.stack([track.size for track in view.tracks])[:, None])
    corners, depth = project(in_camera, view.command.intrinsics)
    distance = np.linalg.norm(to_camera[..., :3, 3], axis=-1)
    present = np.stack([track.present for track in view.tracks], 1)
    fully_in_front = present & (depth.min(-1) > NEAR_M) & (distance < FAR_M)
    hulls = _hulls(in_camera, present & (distance < FAR_M), view.command, (shape[0], shape[1]))
    rectangle = np.concatenate([corners.min(-2), corners.max(-2)], -1)
    for t, n in zip(*np.nonzero(~fully_in_front), strict=True):
        hull = hulls[t][n]
        rectangle[t, n] = 0.0 if hull is None else np.concatenate([hull.min((0, 1)), hull.max((0, 1))])
    in_view, hidden, size = _visible_shares(rectangle, distance, (shape[0], shape[1]))
    is_tall = rectangle[..., 3] - rectangle[..., 1] > max(MIN_ROWS, MIN_ROWS_SHARE * shape[0])
    is_whole, is_large = fully_in_front & (in_view > MIN_IN_VIEW), size > MIN_CUT_SHARE * shape[0]
    return Boxes(
        corners=corners,
        rectangle=rectangle,
        distance=distance,
        size=size,
        in_view=in_view,
        visibility=in_view * (1 - hidden),
        judged=is_tall & (is_whole | is_large) & (hidden < MAX_OCCLUDED),
        is_moving=np.array([np.ptp(track.box_to_world[:, :3, 3], axis=0).max() > MOVING_M for track in view.tracks]),
        hulls=hulls,
    )


def _visible_shares(rectangle: Array, distance: Array, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """The share ``(T, N)`` of each rectangle inside the image, and the share of that part behind nearer boxes.

    The third result is the root of the area of the part inside the image, px.
    """
    height, width = shape
    low, high = rectangle[..., :2].clip(0, None), rectangle[..., 2:].clip(None, [width - 1, height - 1])
    inside = np.concatenate([low, np.maximum(low, high)], -1)
    area = (rectangle[..., 2:] - rectangle[..., :2]).clip(min=1e-6).prod(-1)
    area_inside = (inside[..., 2:] - inside[..., :2]).prod(-1)
    is_nearer = distance[:, None, :] < distance[:, :, None]
    covered = (intersection_area(inside[:, :, None], inside[:, None]) * is_nearer).sum(-1)
    hidden = np.minimum(covered / np.maximum(area_inside, 1e-6), 1.0)
    return area_inside / area, hidden, np.sqrt(np.maximum(area_inside, 1.0))


def intersection_area(a: Array, b: Array) -> Array:
    """Area ``(...)`` of the intersection of rectangles ``(..., 4)``, px²."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return np.asarray((high - low).clip(min=0).prod(-1))


def _hulls(
    in_camera: Array, present: NDArray[np.bool_], command: CommandedCamera, shape: tuple[int, int]
) -> tuple[tuple[NDArray[np.int32] | None, ...], ...]:
    return tuple(
        tuple(_hull(corners, command, shape) if is_present else None for corners, is_present in zip(*row, strict=True))
        for row in zip(in_camera, present, strict=True)
    )


def _hull(corners: Array, command: CommandedCamera, shape: tuple[int, int]) -> NDArray[np.int32] | None:
    """Convex outline of a box in the image, clipped at the near plane; None if it is outside the image."""
    if corners[:, 2].max() <= NEAR_M:
        return None
    points = corners
    if corners[:, 2].min() < NEAR_M:
        points = np.concatenate([clip_to_near_plane(corners[list(face)], closed=True) for face in BOX_FACES])
    pixels = np.clip(project(points, command.intrinsics)[0], -8000, 8000)
    low, high = pixels.min(0), pixels.max(0)
    if high[0] < 0 or high[1] < 0 or low[0] >= shape[1] or low[1] >= shape[0]:
        return None
    return np.asarray(cv2.convexHull(np.round(pixels).astype(np.int32)))


def _shrink_hull(hull: NDArray[np.int32], factor: float) -> NDArray[np.int32]:
    center = hull.mean(0)
    return np.asarray(np.round((hull - center) * factor + center).astype(np.int32))
