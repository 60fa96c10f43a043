"""Changes of an object's appearance: the visible faces of its box are rectified and compared over time."""

from collections import defaultdict
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import BOX_FACES, inverse
from driveforge.validation.objects.outlier_score import outlier_score
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.pixels import blur_scale
from driveforge.validation.views.view import CommandedCamera, View

FACE_PX = 24
MARGIN_PX = 3  # shift that is searched, since boxes are not exact
GAP = 2  # frames
MIN_AREA_PX, MIN_AREA_SHARE = 30.0, 0.0025  # px of the image, share of its rows squared
MIN_CONTRAST = 2.0  # gray levels
# The four vertical faces; top and bottom are seen at a grazing angle.
_UPRIGHT = BOX_FACES[:4]
_NORMALS = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])

Faces = dict[int, NDArray[np.float32]]


def appearance_changes(view: View, command: CommandedCamera, boxes: Boxes, box_index: int) -> dict[int, float]:
    """By frame, 1 - ZNCC between an object's face in it and ``GAP`` frames later; the minimum over faces.

    ZNCC is the zero-mean normalized cross-correlation at the best shift of up to ``MARGIN_PX``.
    """
    rectified = {
        int(t): _faces(view, command, boxes, int(t), box_index) for t in np.flatnonzero(boxes.judged[:, box_index])
    }
    changes: dict[int, list[float]] = defaultdict(list)
    for t, before in rectified.items():
        after = rectified.get(t + GAP, {})
        for face in before.keys() & after.keys():
            center = after[face][MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
            if before[face].std() >= MIN_CONTRAST and center.std() >= MIN_CONTRAST:
                match = cv2.matchTemplate(before[face], np.ascontiguousarray(center), cv2.TM_CCOEFF_NORMED)
                changes[t].append(1.0 - float(match.max()))
    return {t: min(values) for t, values in sorted(changes.items())}


def appearance_outliers(changes: Mapping[int, float]) -> dict[int, float]:
    """By frame, the outlier score of the change of appearance at its start.

    Both comparisons that span this moment must show the change.
    """
    frames, values = list(changes), list(changes.values())
    outlier_scores = {
        frame + GAP: outlier_score(values, i, width=GAP)
        for i, frame in enumerate(frames[:-1])
        if frames[i + 1] == frame + 1
    }
    return {frame: score for frame, score in outlier_scores.items() if score is not None}


def _faces(view: View, command: CommandedCamera, boxes: Boxes, frame: int, box_index: int) -> Faces:
    """The faces of a box that face the camera and are inside the image, each rectified to a square."""
    track = view.tracks[box_index]
    camera_in_box = (inverse(track.box_to_world[frame]) @ command.camera_to_world[frame])[:3, 3]
    # A face is visible if the camera is beyond its plane.
    facing = _NORMALS @ camera_in_box > np.abs(_NORMALS @ (track.size / 2))
    height, width = view.gray.shape[1:]
    image = cv2.GaussianBlur(view.gray[frame], (0, 0), max(0.8, blur_scale(height, width)))
    faces: Faces = {}
    for face in np.flatnonzero(facing):
        quad = boxes.corners[frame, box_index, list(_UPRIGHT[face])].astype(np.float32)
        if _is_large_enough(quad, height) and _lies_in(quad, width, height):
            faces[int(face)] = _rectify(image, quad)
    return faces


def _is_large_enough(quad: NDArray[np.float32], height: int) -> bool:
    return bool(abs(cv2.contourArea(quad)) >= max(MIN_AREA_PX, MIN_AREA_SHARE * height**2))


def _lies_in(quad: NDArray[np.float32], width: int, height: int) -> bool:
    return bool((quad >= 0).all() and (quad <= [width - 1, height - 1]).all())


def _rectify(image: NDArray[np.uint8], quad: NDArray[np.float32]) -> NDArray[np.float32]:
    square = np.array([[0, FACE_PX], [0, 0], [FACE_PX, 0], [FACE_PX, FACE_PX]], np.float32)
    homography = cv2.getPerspectiveTransform(quad, square)
    return np.asarray(cv2.warpPerspective(image, homography, (FACE_PX, FACE_PX)), np.float32)
