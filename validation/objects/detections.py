"""Commanded vehicles that a detector does not find, and objects that it finds although nobody commanded them.

A detector is one more witness, independent of point tracks: it also sees vehicles where nothing can be tracked, and
those without a box. It makes errors of its own, so a strength must persist over ``RUN`` frames, and limits are
calibrated with the same detector on good clips.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.instruments import Detections
from driveforge.validation.measure_tables.objects import NO_DETECTOR
from driveforge.validation.objects.observations import LARGE_PX
from driveforge.validation.records import (
    NO_BOXES,
    SMALL_BOXES,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    worst_measure,
)
from driveforge.validation.views.boxes import MIN_IN_VIEW, Boxes, intersection_area
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import View

RUN = 4  # frames
MIN_SIZE_PX = 24.0  # reference px, root of the area: annotators leave out smaller objects
MIN_IOU = 0.3  # of a detection with its box, and with itself in the next frame: boxes are larger than what is visible
MAX_EXPLAINED = 0.6  # share of a detection that commanded boxes may cover


def detection_measures(tracked: TrackedView) -> list[Measure]:
    """``object_undetected`` of the worst commanded vehicle and ``object_uncommanded`` of the strongest detection.

    Both are shares in 0..1: 1 minus the scores of the detections of a vehicle, and the scores of detections of
    something that no commanded box explains, each averaged over ``RUN`` frames.
    """
    names = ("object_undetected", "object_uncommanded")
    view, boxes, detector = tracked.view, tracked.boxes, tracked.instruments.detector
    if detector is None:
        return [make_unmeasurable(name, NO_DETECTOR) for name in names]
    detections = [_within(detector(image), view) for image in view.frames]
    unexplained = [_unexplained(one, boxes, t, view) for t, one in enumerate(detections)]
    return [_undetected(names[0], view, boxes, detections), _uncommanded(names[1], unexplained)]


def _within(detections: Detections, view: View) -> Detections:
    """The parts of detections inside of the image."""
    rows, columns = view.gray.shape[1:]
    return Detections(boxes=_clip(detections.boxes, rows, columns), scores=detections.scores)


def _undetected(name: str, view: View, boxes: Boxes | None, detections: Sequence[Detections]) -> Measure:
    if boxes is None:
        return make_unmeasurable(name, NO_BOXES)
    rows, columns = view.gray.shape[1:]
    vehicles = np.array([not is_person(track) for track in view.tracks])
    is_whole = boxes.in_view > MIN_IN_VIEW  # a detector cannot be expected to find a part of a vehicle
    expected = boxes.judged & is_whole & (boxes.size >= LARGE_PX / view.scale) & vehicles
    samples = []
    for number in map(int, np.flatnonzero(expected.any(0))):
        visible = _clip(boxes.rectangle[:, number], rows, columns)
        misses = np.array([1.0 - _best_score(one, visible[t]) for t, one in enumerate(detections)])
        for frames in _runs(np.flatnonzero(expected[:, number])):
            value = float(misses[frames].mean())
            samples.append(Sample(value=value, frames=(int(frames[0]), int(frames[-1])), track=view.tracks[number].id))
    return worst_measure(name, samples, SMALL_BOXES if vehicles.any() else NO_BOXES)


def _runs(frames: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """All ``RUN`` consecutive frames among ``frames``."""
    starts = range(len(frames) - RUN + 1)
    return [frames[i : i + RUN] for i in starts if frames[i + RUN - 1] - frames[i] == RUN - 1]


def _best_score(detections: Detections, box: Array) -> float:
    """The best score of a detection at ``box`` ``(4,)``, 0 if there is none."""
    return float(detections.scores[_iou(detections.boxes, box) >= MIN_IOU].max(initial=0.0))


def _unexplained(detections: Detections, boxes: Boxes | None, frame: int, view: View) -> Detections:
    """The large detections that no commanded box explains, also not a small or hidden one."""
    rows, columns = view.gray.shape[1:]
    found = detections.boxes
    large = np.sqrt((found[:, 2:] - found[:, :2]).prod(1)) >= MIN_SIZE_PX / view.scale
    if boxes is not None:
        commanded = _clip(boxes.rectangle[frame], rows, columns)
        commanded = commanded[(commanded[:, 2:] > commanded[:, :2]).all(1) & boxes.is_in_image[frame]]
        near = np.array([(_iou(commanded, one) >= MIN_IOU).any() for one in found], bool)
        mask = boxes.mask(frame, (rows, columns)) > 0
        covered = np.array([_mean_in(mask, one) for one in found])
        large &= ~near & (covered <= MAX_EXPLAINED)
    return Detections(boxes=found[large], scores=detections.scores[large])


def _mean_in(mask: NDArray[np.bool_], box: Array) -> float:
    """The share of a box that the mask covers; 1 for an empty box."""
    x0, y0, x1, y1 = np.round(box).astype(int)
    inside = mask[y0 : y1 + 1, x0 : x1 + 1]
    return float(inside.mean()) if inside.size else 1.0


def _uncommanded(name: str, unexplained: Sequence[Detections]) -> Measure:
    """The strongest detection that is followed over ``RUN`` frames; 0 if there is none."""
    best = Sample(value=0.0)
    for first in range(len(unexplained) - RUN + 1):
        for box, score in zip(unexplained[first].boxes, unexplained[first].scores, strict=True):
            scores = [float(score), *_follow(box, unexplained[first + 1 : first + RUN])]
            value = float(np.mean(scores))
            if value > best.value:
                best = Sample(value=value, frames=(first, first + RUN - 1))
    return make_measure(name, best.value, best.frames)


def _follow(box: Array, following: Sequence[Detections]) -> list[float]:
    """The scores of the object at ``box`` in the following frames, 0 in those where it is not found."""
    scores = []
    for detections in following:
        overlaps = _iou(detections.boxes, box)
        candidates = np.where(overlaps >= MIN_IOU, detections.scores, 0.0)
        if candidates.max(initial=0.0) == 0.0:
            scores.append(0.0)
            continue
        best = int(candidates.argmax())
        box = detections.boxes[best]
        scores.append(float(candidates[best]))
    return scores


def _clip(boxes: Array, rows: int, columns: int) -> Array:
    return np.clip(boxes, 0.0, [columns - 1.0, rows - 1.0] * 2)


def _iou(boxes: Array, box: Array) -> Array:
    """Intersection over union ``(N,)`` of boxes ``(N, 4)`` with one box ``(4,)``."""
    common = intersection_area(boxes, box)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return np.asarray(common / np.maximum(areas - common, 1e-9))
