"""Whether an object keeps its looks: the largest face of its box that is seen, rectified, compared over time."""

from collections import defaultdict

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.geometry import BOX_FACES, inverse
from validation.boxes import Boxes
from validation.records import NO_BOXES, Measure, Sample, worst
from validation.view import View

FACE_PX = 24
MARGIN_PX = 3  # the patch may shift this much: boxes are never exact
GAP = 2  # frames
MIN_AREA_PX, MIN_AREA_SHARE = 30.0, 0.0025  # px of the image, share of its rows squared
MIN_CONTRAST = 2.0  # grey levels
MIN_COMPARISONS = 3
TOO_SMALL = "no face of a box large enough"
# The four upright faces; top and bottom are seen too flatly.
_UPRIGHT = BOX_FACES[:4]
_NORMALS = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])

Faces = dict[int, NDArray[np.float32]]


def appearance_measure(view: View, boxes: Boxes | None) -> Measure:
    """Largest change of an object's looks beyond its usual one: max - median over time of 1 - ZNCC of its face.

    ZNCC is the zero-mean normalised cross-correlation, at the best shift of up to ``MARGIN_PX``, of frames two apart.
    """
    if boxes is None or not boxes.judged.any():
        return worst("object_appearance", [], view.why or NO_BOXES)
    samples = []
    for owner, track in enumerate(view.tracks):
        changes = _changes(view, boxes, owner)
        if len(changes) >= MIN_COMPARISONS:
            frame, change = max(changes, key=lambda item: item[1])
            usual = float(np.median([value for _, value in changes]))
            samples.append(Sample(value=change - usual, frames=(frame, frame + GAP), track=track.id))
    return worst("object_appearance", samples, TOO_SMALL)


def _changes(view: View, boxes: Boxes, owner: int) -> list[tuple[int, float]]:
    """Frame and 1 - ZNCC of every face that is seen both in that frame and ``GAP`` later; the best face counts."""
    rectified = {int(t): _faces(view, boxes, int(t), owner) for t in np.flatnonzero(boxes.judged[:, owner])}
    changes: dict[int, list[float]] = defaultdict(list)
    for t, before in rectified.items():
        after = rectified.get(t + GAP, {})
        for face in before.keys() & after.keys():
            centre = after[face][MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
            if before[face].std() >= MIN_CONTRAST and centre.std() >= MIN_CONTRAST:
                match = cv2.matchTemplate(before[face], np.ascontiguousarray(centre), cv2.TM_CCOEFF_NORMED)
                changes[t].append(1.0 - float(match.max()))
    return [(t, min(values)) for t, values in sorted(changes.items())]


def _faces(view: View, boxes: Boxes, frame: int, owner: int) -> Faces:
    """The faces of a box that look at the camera and lie in the image, each rectified to a square."""
    track, command = view.tracks[owner], view.command
    if command is None:
        return {}
    camera_in_box = (inverse(track.box_to_world[frame]) @ command.camera_to_world[frame])[:3, 3]
    facing = _NORMALS @ camera_in_box > np.abs(_NORMALS @ (track.size / 2))
    height, width = view.grey.shape[1:]
    image = cv2.GaussianBlur(view.grey[frame], (0, 0), max(0.8, height / 128))
    faces: Faces = {}
    for face in np.flatnonzero(facing):
        quad = boxes.corners[frame, owner, list(_UPRIGHT[face])].astype(np.float32)
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
