"""Measures of each object against its commanded box: motion over windows, motion from step to step, appearance.

Vehicles (``object_...``) have separate measures from people and riders (``person_...``), who do not fill their boxes
and move within them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from driveforge.datasets.scene import Track
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.measure_tables.objects import OBJECT_SUFFIXES
from driveforge.validation.objects.appearance import appearance_changes, appearance_outliers
from driveforge.validation.objects.departures import DepartureStep, departure_outliers, departure_steps
from driveforge.validation.objects.observations import LARGE_PX, ObjectObservation, observe_objects
from driveforge.validation.point_tracking.protocol import Mask
from driveforge.validation.point_tracking.queries import OBJECT_STRIDE
from driveforge.validation.records import NO_BOXES, SMALL_BOXES, TOO_FEW_TRACKS, Measure, Sample, worst_measure
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import CommandedCamera

TOO_FEW_ON_OBJECTS = f"{TOO_FEW_TRACKS} on objects"
MIN_WINDOWS = 3
# Expected offset of an object from its box, since boxes are not exact.
TOLERANCE_PX, TOLERANCE_SHARE = 0.5, 0.04  # reference px, share of the box's size


def object_measures(tracked: TrackedView) -> list[Measure]:
    """Each measure of the worst vehicle and of the worst person, with the object's id."""
    view, boxes = tracked.view, tracked.boxes
    samples = _samples_by_object(tracked, boxes) if boxes and view.command else {}
    people = _people(view.tracks)
    measures = []
    for group, members in (("object", ~people), ("person", people)):
        reason = view.reason or _unobserved_reason(boxes, members, LARGE_PX / view.scale)
        for suffix in OBJECT_SUFFIXES[group]:
            group_samples = [s[suffix] for box_index, s in samples.items() if members[box_index] and suffix in s]
            measures.append(worst_measure(f"{group}_{suffix}", group_samples, reason))
    return measures


def _people(tracks: Sequence[Track]) -> Mask:
    return np.array([is_person(track) for track in tracks], bool)


def _samples_by_object(tracked: TrackedView, boxes: Boxes) -> dict[int, dict[str, Sample]]:
    """The value of each measure, by object and suffix of the measure's name."""
    view, command, tracks = tracked.view, tracked.command, tracked.tracks
    observations, pixel = observe_objects(view, boxes, tracks), 1.0 / view.scale
    by_object = {}
    for box_index in map(int, np.flatnonzero(boxes.judged.any(0))):
        windows = observations.get(box_index, [])
        windows = windows if len(windows) >= MIN_WINDOWS else []
        steps = departure_steps(view, command, boxes, tracks, box_index)
        departures = departure_outliers(steps)
        appearance = appearance_outliers(appearance_changes(tracked.face_steps.get(box_index, {})))
        # A replaced object leaves its box and changes its appearance in the same step: the geometric mean of both.
        both = {
            frame: float(np.sqrt(max(departures[frame], 0) * max(appearance[frame], 0)))
            for frame in departures.keys() & appearance
        }
        found = {
            "residual": _residual(windows, pixel),
            "jump": _jump(windows, pixel),
            "drift": _drift(windows, command),
            "scale": _scale(windows, pixel),
            "unsupported": _unsupported(windows),
            "step": _step(steps),
            "departure": _max_sample(departures),
            "appearance": _max_sample(appearance),
            "replaced": _max_sample(both),
        }
        track = view.tracks[box_index].id
        by_object[box_index] = {
            name: replace(sample, track=track, visibility=_visibility(boxes, sample.frames, box_index))
            for name, sample in found.items()
            if sample
        }
    return by_object


def _visibility(boxes: Boxes, frames: Sequence[int], box_index: int) -> float:
    return float(boxes.visibility[list(frames), box_index].mean())


def _residual(observations: Sequence[ObjectObservation], pixel: float) -> Sample | None:
    """Median over windows of the offset, over the expected error of a box."""
    ratios = [(_offset_ratio(s, pixel), s.frames) for s in observations if s.offset is not None]
    if len(ratios) < MIN_WINDOWS:
        return None
    return Sample(value=float(np.median([r for r, _ in ratios])), frames=max(ratios)[1])


def _offset_ratio(observation: ObjectObservation, pixel: float) -> float:
    tolerance = np.hypot(TOLERANCE_PX * pixel, TOLERANCE_SHARE * observation.size)
    return float(np.linalg.norm(observation.offset) / tolerance) if observation.offset is not None else 0.0


def _jump(observations: Sequence[ObjectObservation], pixel: float) -> Sample | None:
    """The largest offset, in box sizes, that two consecutive windows agree on."""
    shares = [
        (float(np.linalg.norm(s.offset)) / max(s.size, 10 * pixel), s) for s in observations if s.offset is not None
    ]
    agreed = [(min(a, b), (s.first, t.last)) for (a, s), (b, t) in pairwise(shares)]
    if not agreed:
        return None
    value, frames = max(agreed)
    return Sample(value=value, frames=frames)


def _drift(observations: Sequence[ObjectObservation], command: CommandedCamera) -> Sample | None:
    """The sum of the offsets over time, as an angle at the camera in degrees."""
    followed = [s for s in observations if s.offset is not None]
    if len(followed) < MIN_WINDOWS:
        return None
    focal = command.intrinsics[0, 0]
    total = sum(_stride_share(s) * s.offset / focal for s in followed if s.offset is not None)
    return Sample(value=float(np.degrees(np.linalg.norm(total))), frames=_span(followed))


def _scale(observations: Sequence[ObjectObservation], pixel: float) -> Sample | None:
    """The median log growth times the duration, over the expected error from tracking noise and boxes.

    The median is used instead of the sum, since a window with few tracks can be far off.
    """
    with_growth = [s for s in observations if s.growth is not None]
    if len(with_growth) < MIN_WINDOWS:
        return None
    total = np.median([s.growth for s in with_growth if s.growth is not None]) * sum(map(_stride_share, with_growth))
    noise = np.hypot(
        0.7 * pixel / np.median([s.size for s in with_growth]) * np.sqrt(len(with_growth) / 2), TOLERANCE_SHARE
    )
    return Sample(value=float(abs(total) / noise), frames=_span(with_growth))


def _unsupported(observations: Sequence[ObjectObservation]) -> Sample | None:
    """The largest share of points on the box that do not move with it, confirmed by three consecutive windows."""
    runs = [observations[i : i + MIN_WINDOWS] for i in range(len(observations) - MIN_WINDOWS + 1)]
    if not runs:
        return None
    worst_run = min(runs, key=_support)
    return Sample(value=1.0 - _support(worst_run), frames=(worst_run[0].first, worst_run[-1].last))


def _support(run: Sequence[ObjectObservation]) -> float:
    return max(observation.support for observation in run)


def _unobserved_reason(boxes: Boxes | None, members: Mask, large: float) -> str:
    """Why a group's ``members`` ``(N,)`` are unmeasurable: too few tracks on large boxes, small boxes, or no boxes."""
    if boxes is None or not (judged := boxes.judged[:, members]).any():
        return NO_BOXES
    windows = judged[:-1] & judged[1:] & (boxes.size[:-1, members] > large)
    return TOO_FEW_ON_OBJECTS if (windows[::OBJECT_STRIDE].sum(0) >= MIN_WINDOWS).any() else SMALL_BOXES


def _step(steps: list[DepartureStep]) -> Sample | None:
    """The largest distance of an object's points from its box in one step, in tolerances."""
    strays = [(step.stray, step.frame) for step in steps if step.stray is not None]
    if not strays:
        return None
    stray, frame = max(strays)
    return Sample(value=stray, frames=(frame - 1, frame))


def _max_sample(outlier_scores: dict[int, float]) -> Sample | None:
    """The frame with the highest outlier score."""
    if not outlier_scores:
        return None
    frame = max(outlier_scores, key=lambda frame: outlier_scores[frame])
    return Sample(value=max(outlier_scores[frame], 0.0), frames=(frame - 1, frame))


def _stride_share(observation: ObjectObservation) -> float:
    """Windows overlap: the share of a window's motion before the next one starts."""
    return min(OBJECT_STRIDE / (observation.last - observation.first), 1.0)


def _span(observations: Iterable[ObjectObservation]) -> tuple[int, int]:
    frames = [frame for s in observations for frame in s.frames]
    return min(frames), max(frames)
