"""Average precision of detections by class and distance, and of lane cells, for all clips and for resampled clips.

Detections are matched as in PASCAL VOC and COCO: the best first, each to the object of its class with the largest
overlap that no better one has, if the intersection over union is at least 0.5. Those on hidden objects do not count. In
a range of distances, objects out of the range do not count either; a false detection has the distance of an object of
``TYPICAL_M`` height.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.pipelines.studies.detector.images import PERSON, VEHICLE
from driveforge.validation.views.boxes import intersection_area

MIN_IOU = 0.5
TYPICAL_M = 1.6
CLASSES = {"vehicle": VEHICLE, "person": PERSON}
RANGES_M = ((0, 15), (15, 30), (30, 60))
ALL_M = (0, 1000)
HIT, FALSE, DROPPED = 1, 0, -1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detections:
    """Matched detections of all test frames, and the objects that count.

    ``score``, ``label``, ``outcome`` (``HIT``, ``FALSE``, ``DROPPED``), ``distance`` m and ``clip`` are ``(D,)``;
    ``object_label``, ``object_distance`` and ``object_clip`` are ``(N,)``.
    """

    score: Array
    label: NDArray[np.int64]
    outcome: NDArray[np.int64]
    distance: Array
    clip: NDArray[np.int64]
    object_label: NDArray[np.int64]
    object_distance: Array
    object_clip: NDArray[np.int64]


def match(
    boxes: Array, labels: NDArray[np.int64], objects: Array, object_labels: NDArray[np.int64], counts: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The outcome ``(D,)`` of the detections of one image, best first, and the object of each, or -1.

    Of ``objects`` ``(N, 4)`` only those that ``counts`` have to be found.
    """
    outcome, matched = np.full(len(boxes), FALSE), np.full(len(boxes), -1)
    if not len(objects) or not len(boxes):
        return outcome, matched
    common = intersection_area(boxes[:, None], objects[None])
    areas = [(some[:, 2:] - some[:, :2]).clip(min=1e-6).prod(-1) for some in (boxes, objects)]
    overlap = common / (areas[0][:, None] + areas[1] - common)
    overlap[labels[:, None] != object_labels] = 0
    free = np.ones(len(objects), np.bool_)
    for number, row in enumerate(overlap):
        best = int(np.argmax(row * free))
        if free[best] and row[best] >= MIN_IOU:
            outcome[number], matched[number], free[best] = HIT if counts[best] else DROPPED, best, False
    return outcome, matched


def detection_precision(found: Detections, weights: Array) -> dict[str, Array]:
    """The average precision ``(R,)`` of every metric under the weights ``(R, C)`` of the clips."""
    return {
        name if span == ALL_M else f"{name}, {span[0]}-{span[1]} m": _in_range(found, weights, label, span)
        for name, label in CLASSES.items()
        for span in (ALL_M, *RANGES_M)
    }


def _in_range(found: Detections, weights: Array, label: int, span: tuple[int, int]) -> Array:
    inside = (found.distance >= span[0]) & (found.distance < span[1])
    chosen = np.flatnonzero((found.label == label) & (found.outcome != DROPPED) & inside)
    chosen = chosen[np.argsort(-found.score[chosen], kind="stable")]
    is_object = (found.object_label == label) & (found.object_distance >= span[0]) & (found.object_distance < span[1])
    weight = weights[:, found.clip[chosen]]
    hits = found.outcome[chosen] == HIT
    return average_precision(weight * hits, weight * ~hits, weights[:, found.object_clip[is_object]].sum(1))


def average_precision(hits: Array, false: Array, total: Array) -> Array:
    """Area ``(R,)`` under the curve of the largest precision at each recall, of increments ``(R, D)``, best first.

    ``total`` ``(R,)`` is the number of objects. NaN if there are none.
    """
    if not hits.shape[1]:
        return np.asarray(np.where(total > 0, 0.0, np.nan), np.float64)
    found, wrong = hits.cumsum(1), false.cumsum(1)
    precision = found / np.maximum(found + wrong, 1e-9)
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    area: Array = (hits * precision).sum(1) / np.maximum(total, 1e-9)
    return np.asarray(np.where(total > 0, area, np.nan), np.float64)


def lane_precision(on_line: Array, off_line: Array, weights: Array) -> Array:
    """The average precision ``(R,)`` of lane cells, of histograms ``(C, K)`` of their probability on and off lines.

    The bins are from low to high probability.
    """
    hits, false = ((weights @ histogram)[:, ::-1] for histogram in (on_line, off_line))
    return average_precision(hits, false, hits.sum(1))


def resample(num_clips: int, count: int) -> Array:
    """How often each clip is drawn ``(1 + count, C)`` in bootstrap resamples; in the first row, once."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(num_clips, np.full(num_clips, 1 / num_clips), count)
    return np.asarray(np.concatenate([np.ones((1, num_clips)), drawn]), np.float64)
