"""Vehicles compared with their own best views: what they look like, and how much detail they keep.

Every view of a face is compared with the best other view from a similar direction (parallax changes what a box's face
shows) that is some frames away. Neighboring frames are compared as well: what swims over a vehicle, or shines through
it, changes from one frame to the next although the whole looks the same.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.appearance.comparison import FaceComparison, compare_faces
from driveforge.validation.appearance.faces import Face
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.records import NO_BOXES, SMALL_BOXES, Measure, Sample, worst_measure
from driveforge.validation.views.boxes import Boxes

MAX_ANGLE_DEG = 25.0  # between the directions of compared views
MIN_GAP = 3  # frames between a view and its reference
MIN_VIEWS = 3
# By name of the measure: the value of a comparison; neighboring frames must agree on it.
_TEXTURE, _DETAIL, _SWIM = "object_texture", "object_detail_loss", "object_swim"

# Comparisons of one object, by frame.
Series = Mapping[int, Sequence[FaceComparison]]


def object_appearance_measures(tracked: TrackedView) -> list[Measure]:
    """Each measure of the worst vehicle."""
    boxes = tracked.boxes
    reason = tracked.view.reason or (NO_BOXES if boxes is None else SMALL_BOXES)
    with_best, with_neighbor = _compare_all(tracked)
    samples: dict[str, list[Sample]] = {_TEXTURE: [], _DETAIL: [], _SWIM: []}
    for name, compared, value in (
        (_TEXTURE, with_best, lambda comparison: comparison.difference),
        (_DETAIL, with_best, lambda comparison: comparison.detail_loss),
        (_SWIM, with_neighbor, lambda comparison: comparison.difference),
    ):
        assert boxes is not None or not compared
        for box_index, series in compared.items():
            if boxes is not None and (sample := _worst_pair(series, value, boxes, box_index, tracked)):
                samples[name].append(sample)
    samples[_DETAIL] = [
        Sample(value=float(np.exp(max(s.value, 0.0))), frames=s.frames, track=s.track, visibility=s.visibility)
        for s in samples[_DETAIL]
    ]
    return [worst_measure(name, found, reason) for name, found in samples.items()]


def _compare_all(tracked: TrackedView) -> tuple[dict[int, Series], dict[int, Series]]:
    """By object: every view with its reference, and every view with the one in the next frame."""
    with_best: dict[int, dict[int, list[FaceComparison]]] = defaultdict(lambda: defaultdict(list))
    with_neighbor: dict[int, dict[int, list[FaceComparison]]] = defaultdict(lambda: defaultdict(list))
    for (box_index, _), views in tracked.faces.items():
        if len(views) < MIN_VIEWS:
            continue
        for view, reference in zip(views, _references(views), strict=True):
            if reference and (found := compare_faces(*sorted((view, reference), key=lambda face: face.frame))):
                with_best[box_index][view.frame].append(found)
        for before, after in pairwise(views):
            if after.frame == before.frame + 1 and (found := compare_faces(before, after)):
                with_neighbor[box_index][after.frame].append(found)
    return dict(with_best), dict(with_neighbor)


def _references(views: Sequence[Face]) -> list[Face | None]:
    """For each view of a face, the best one from a similar direction that is ``MIN_GAP`` frames away or more."""
    directions = np.stack([view.direction for view in views])
    frames = np.array([view.frame for view in views])
    allowed = directions @ directions.T > np.cos(np.radians(MAX_ANGLE_DEG))
    allowed &= np.abs(frames[:, None] - frames) >= MIN_GAP
    quality = np.where(allowed, [view.detail_weight for view in views], -1.0)
    return [views[int(np.argmax(row))] if row.max() > 0 else None for row in quality]


def _worst_pair(
    series: Series, value: Callable[[FaceComparison], float], boxes: Boxes, box_index: int, tracked: TrackedView
) -> Sample | None:
    """The largest value that two consecutive compared frames agree on."""
    frames = sorted(series)
    if len(frames) < MIN_VIEWS:
        return None
    values = [_weighted_mean(series[frame], value) for frame in frames]
    agreed = [min(pair) for pair in pairwise(values)]
    worst = int(np.argmax(agreed))
    return Sample(
        value=agreed[worst],
        frames=(frames[worst], frames[worst + 1]),
        track=tracked.view.tracks[box_index].id,
        visibility=float(boxes.visibility[frames[worst], box_index]),
    )


def _weighted_mean(comparisons: Sequence[FaceComparison], value: Callable[[FaceComparison], float]) -> float:
    weights: Array = np.array([comparison.weight for comparison in comparisons])
    return float(np.average([value(comparison) for comparison in comparisons], weights=np.maximum(weights, 1e-6)))
