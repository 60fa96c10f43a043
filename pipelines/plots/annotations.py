"""Annotations of a picture of a measured clip: intervals of frames with descriptions, and the displayed frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from driveforge.validation.camera.pose_refinement import GAP
from driveforge.validation.catalog import get_definition
from driveforge.validation.review.drawing import short_id
from driveforge.validation.review.intervals import Interval, find_intervals
from driveforge.validation.review.timeline import Timeline
from driveforge.validation.verdict import Reason, Verdict

MAX_ANNOTATIONS = 7
MAX_REFERENCE_PX = 1.0  # reference px: frames with a larger background residual are not shown as ordinary ones

DisplayKind = Literal["violation", "outlier", "reference", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """A ``description`` of the frames first to last of every one of ``spans``; it holds most clearly at ``peak``.

    ``is_violation``: a limit is violated; otherwise the frames are outliers without a limit.
    """

    description: str
    spans: tuple[tuple[int, int], ...]
    peak: int
    is_violation: bool
    track: str = ""

    @property
    def kind(self) -> DisplayKind:
        return "violation" if self.is_violation else "outlier"

    def contains(self, frame: int) -> bool:
        return any(first <= frame <= last for first, last in self.spans)


@dataclass(frozen=True, kw_only=True, slots=True)
class DisplayedFrame:
    """A displayed frame with the reason for it; the box of ``track`` gets a close-up."""

    frame: int
    kind: DisplayKind
    description: str
    track: str = ""


def annotate_timeline(timeline: Timeline, verdict: Verdict | None) -> list[Annotation]:
    """Violated limits, the most severe first and one per reason code and object, then other outliers."""
    violations: dict[tuple[str, str], list[Reason]] = {}
    for reason in verdict.reasons if verdict else ():
        if reason.frames:
            violations.setdefault((reason.code, reason.track), []).append(reason)
    outliers: dict[tuple[str, str], list[Interval]] = {}
    for interval in find_intervals(timeline):
        outliers.setdefault((interval.description, interval.track), []).append(interval)
    annotations = [_violation_annotation(reasons, timeline) for reasons in violations.values()]
    return [*annotations, *(_outlier_annotation(intervals) for intervals in outliers.values())][:MAX_ANNOTATIONS]


def select_displayed_frames(
    timeline: Timeline, annotations: Sequence[Annotation], count: int = 4
) -> list[DisplayedFrame]:
    """The worst frames and one ordinary frame, in the order of the clip.

    The worst frames are the peaks of annotations, then the ends of their intervals, then the frames with the largest
    background residual. The ordinary frame is the last one before them without an annotation.
    """
    displayed: dict[int, DisplayedFrame] = {}
    spacing = max(1, timeline.num_frames // 12)
    highlighted = next((annotation.track for annotation in annotations if annotation.track), "")
    peaks = [(annotation.peak, annotation) for annotation in annotations]
    ends = [(last, annotation) for annotation in annotations for _, last in annotation.spans]
    for t, annotation in [*peaks, *ends]:
        if t > 0 and len(displayed) < count - 1 and _is_far_from(t, displayed, spacing):
            displayed[t] = DisplayedFrame(
                frame=t, kind=annotation.kind, description=annotation.description, track=annotation.track or highlighted
            )
    reference = _reference_frame(timeline, annotations, displayed)
    if reference is not None:
        displayed[reference] = DisplayedFrame(
            frame=reference, kind="reference", description="an ordinary frame", track=highlighted
        )
    median, change = np.nan_to_num(timeline.residual[:, 1]), np.nan_to_num(timeline.change)
    for t in sorted(range(1, timeline.num_frames), key=lambda t: (-median[t], -change[t])):
        if len(displayed) < count and _is_far_from(t, displayed, max(spacing, timeline.num_frames // (count + 2))):
            marked = next((annotation for annotation in annotations if annotation.contains(t)), None)
            kind, description = (marked.kind, marked.description) if marked else ("other", "for comparison")
            displayed[t] = DisplayedFrame(frame=t, kind=kind, description=description, track=highlighted)
    return [displayed[t] for t in sorted(displayed)]


def _violation_annotation(reasons: Sequence[Reason], timeline: Timeline) -> Annotation:
    """One annotation for the limits of one code, with the description of the most severe."""
    most_severe, last = reasons[0], timeline.num_frames - 1
    spans = _merge_spans([(min(r.frames), min(max(r.frames), last)) for r in reasons])
    description, camera = get_definition(most_severe.measure).description, most_severe.measure.rpartition("/")[0]
    subject = [part for part in (camera, most_severe.track and f"object {short_id(most_severe.track)}") if part]
    description = ", ".join(subject) + f": {description}" if subject else description
    return Annotation(
        description=description,
        spans=spans,
        peak=_peak_frame(most_severe, timeline),
        is_violation=True,
        track=most_severe.track,
    )


def _outlier_annotation(intervals: Sequence[Interval]) -> Annotation:
    """One annotation for intervals of one description; its peak is that of the longest."""
    longest = max(intervals, key=lambda interval: interval.num_frames)
    return Annotation(
        description=longest.description.replace("the box", f"box {short_id(longest.track)}"),
        spans=tuple((interval.first, interval.last) for interval in intervals),
        peak=longest.peak,
        is_violation=False,
        track=longest.track,
    )


def _peak_frame(reason: Reason, timeline: Timeline) -> int:
    first, last = min(reason.frames), min(max(reason.frames), timeline.num_frames - 1)
    if get_definition(reason.measure).family in ("tracks", "pose"):
        return first + int(np.argmax(np.nan_to_num(timeline.residual[first : last + 1, 1])))
    if reason.track in timeline.unsupported:
        share = np.nan_to_num(timeline.unsupported[reason.track][first : last + 1])
        highest = np.flatnonzero(share == share.max())
        return first + int(highest[len(highest) // 2])
    return last


def _merge_spans(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _is_far_from(frame: int, displayed: dict[int, DisplayedFrame], spacing: int) -> bool:
    return all(abs(frame - other) >= spacing for other in displayed)


def _reference_frame(
    timeline: Timeline, annotations: Sequence[Annotation], displayed: dict[int, DisplayedFrame]
) -> int | None:
    """The ordinary frame; None if all frames are annotated or have a large background residual.

    Observations of objects span several frames, so their annotations are extended to earlier frames.
    """
    marked = {
        t
        for annotation in annotations
        for first, last in annotation.spans
        for t in range(first - (GAP if annotation.track else 0), last + 1)
    }
    candidates = [
        t for t in range(1, timeline.num_frames) if t not in marked and not timeline.residual[t, 1] > MAX_REFERENCE_PX
    ]
    if not candidates:
        return None
    target = min(displayed) if displayed else timeline.num_frames // 2
    before = [t for t in candidates if displayed and t < target]
    return before[-1] if before else min(candidates, key=lambda t: abs(t - target))
