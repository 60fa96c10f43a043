"""Vehicles (``object_...``) and people (``person_...``) compared with their own best views: appearance and detail.

Every view of a face is compared with the best other view from a similar direction (parallax changes what a box's face
shows) that is some frames away. Views in close frames are compared as well: what swims over a vehicle, or shines
through it, changes from frame to frame although the vehicle as a whole looks the same.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.faces.comparison import FaceComparison, FaceSeries, compare_faces
from driveforge.validation.faces.rectify import Face, FaceKey
from driveforge.validation.records import NO_BOXES, SMALL_BOXES, Measure, Sample, make_unmeasurable, worst_measure
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import View

MAX_ANGLE_DEG = 25.0  # between the directions of compared views
MIN_GAP = 3  # frames between a view and its reference
MIN_VIEWS = 3
GROUPS = ("object", "person")
SUFFIXES = ("texture", "detail_loss", "swim")

Value = Callable[[FaceComparison], float]


def object_appearance_measures(tracked: TrackedView) -> list[Measure]:
    """Each measure of the worst vehicle and of the worst person."""
    boxes, view = tracked.boxes, tracked.view
    if boxes is None:
        reason = view.reason or NO_BOXES
        return [make_unmeasurable(f"{group}_{suffix}", reason) for group in GROUPS for suffix in SUFFIXES]
    with_best = _compare_with_best(tracked.faces)
    samples = {
        "texture": _worst_by_object(with_best, lambda comparison: comparison.difference, boxes, view),
        "detail_loss": _worst_by_object(with_best, lambda comparison: max(comparison.detail_loss, 0.0), boxes, view),
        "swim": _worst_by_object(tracked.face_steps, lambda comparison: comparison.difference, boxes, view),
    }
    people = {track.id for track in view.tracks if is_person(track)}
    return [
        worst_measure(
            f"{group}_{suffix}",
            [sample for sample in samples[suffix] if (sample.track in people) == (group == "person")],
            SMALL_BOXES,
        )
        for group in GROUPS
        for suffix in SUFFIXES
    ]


def _compare_with_best(faces: Mapping[FaceKey, Sequence[Face]]) -> dict[int, FaceSeries]:
    """By object and frame, every face compared with its reference."""
    compared: dict[int, FaceSeries] = {}
    for (box_index, _), views in faces.items():
        for view, reference in zip(views, _references(views), strict=True):
            if reference and (found := compare_faces(*sorted((view, reference), key=lambda face: face.frame))):
                compared.setdefault(box_index, {}).setdefault(view.frame, []).append(found)
    return compared


def _references(views: Sequence[Face]) -> list[Face | None]:
    """For each view of a face, the best one from a similar direction that is ``MIN_GAP`` frames away or more."""
    directions = np.stack([view.direction for view in views])
    frames = np.array([view.frame for view in views])
    allowed = directions @ directions.T > np.cos(np.radians(MAX_ANGLE_DEG))
    allowed &= np.abs(frames[:, None] - frames) >= MIN_GAP
    quality = np.where(allowed, [view.detail_weight for view in views], -1.0)
    return [views[int(np.argmax(row))] if row.max() > 0 else None for row in quality]


def _worst_by_object(compared: Mapping[int, FaceSeries], value: Value, boxes: Boxes, view: View) -> list[Sample]:
    """For each object, the largest value that two consecutive compared frames agree on."""
    samples = []
    for box_index, series in compared.items():
        frames = sorted(series)
        if len(frames) < MIN_VIEWS:
            continue
        values = [_weighted_mean(series[frame], value) for frame in frames]
        agreed = [min(pair) for pair in pairwise(values)]
        worst = int(np.argmax(agreed))
        samples.append(
            Sample(
                value=agreed[worst],
                frames=(frames[worst], frames[worst + 1]),
                track=view.tracks[box_index].id,
                visibility=float(boxes.visibility[frames[worst], box_index]),
            )
        )
    return samples


def _weighted_mean(comparisons: Sequence[FaceComparison], value: Value) -> float:
    weights = [comparison.weight for comparison in comparisons]
    return float(np.average([value(comparison) for comparison in comparisons], weights=weights))
