"""What a picture of a measured clip points at: stretches of frames with words, and the frames that are shown large."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from driveforge.validation.camera.pose_refinement import GAP
from driveforge.validation.catalogue import definition
from driveforge.validation.review.drawing import short_id
from driveforge.validation.review.intervals import Stretch, stretches
from driveforge.validation.review.timeline import Timeline
from driveforge.validation.verdict import Reason, Verdict

MAX_MARKS = 7
ORDINARY_PX = 1.0  # reference px: frames in which the background strays more are not shown as ordinary ones


Kind = Literal["broke", "stands out", "ordinary", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Something in ``words``, in frames first to last of every one of ``spans``; most so in ``peak``.

    ``broke`` says that a limit was broken; without it something stands out and was not judged.
    """

    words: str
    spans: tuple[tuple[int, int], ...]
    peak: int
    broke: bool
    track: str = ""

    @property
    def kind(self) -> Kind:
        return "broke" if self.broke else "stands out"

    def holds(self, frame: int) -> bool:
        return any(first <= frame <= last for first, last in self.spans)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A frame that is shown large, and why; of a ``track`` that it is about there is a close-up."""

    frame: int
    kind: Kind
    words: str
    track: str = ""


def marks_of(times: Timeline, verdict: Verdict | None) -> list[Mark]:
    """Broken limits, the gravest first and one a reason code and object, then what stands out by itself."""
    broken: dict[tuple[str, str], list[Reason]] = {}
    for reason in verdict.reasons if verdict else ():
        if reason.frames:
            broken.setdefault((reason.code, reason.track), []).append(reason)
    outstanding: dict[tuple[str, str], list[Stretch]] = {}
    for stretch in stretches(times):
        outstanding.setdefault((stretch.words, stretch.track), []).append(stretch)
    marks = [_broken_limits(reasons, times) for reasons in broken.values()]
    return [*marks, *(_standing_out(same) for same in outstanding.values())][:MAX_MARKS]


def shown_frames(times: Timeline, marks: Sequence[Mark], count: int = 4) -> list[Shown]:
    """An ordinary frame and the worst ones, in the order of the clip.

    Worst are the peaks of what is marked, then the ends of the marked stretches, then those in which the background
    strays most. Ordinary is the last frame before them that nothing is marked in: how it was when it still went well.
    """
    shown: dict[int, Shown] = {}
    spacing = max(1, times.num_frames // 12)
    blamed = next((mark.track for mark in marks if mark.track), "")
    peaks = [(mark.peak, mark) for mark in marks]
    ends = [(last, mark) for mark in marks for _, last in mark.spans]
    for t, mark in [*peaks, *ends]:
        if t > 0 and len(shown) < count - 1 and _apart(t, shown, spacing):
            shown[t] = Shown(frame=t, kind=mark.kind, words=mark.words, track=mark.track or blamed)
    ordinary = _ordinary(times, marks, shown)
    if ordinary is not None:
        shown[ordinary] = Shown(frame=ordinary, kind="ordinary", words="an ordinary frame", track=blamed)
    median, change = np.nan_to_num(times.residual[:, 1]), np.nan_to_num(times.change)
    for t in sorted(range(1, times.num_frames), key=lambda t: (-median[t], -change[t])):
        if len(shown) < count and _apart(t, shown, max(spacing, times.num_frames // (count + 2))):
            marked = next((mark for mark in marks if mark.holds(t)), None)
            kind, words = (marked.kind, marked.words) if marked else ("other", "for comparison")
            shown[t] = Shown(frame=t, kind=kind, words=words, track=blamed)
    return [shown[t] for t in sorted(shown)]


def _broken_limits(reasons: Sequence[Reason], times: Timeline) -> Mark:
    """One mark for limits of one code; words are those of the gravest."""
    gravest, last = reasons[0], times.num_frames - 1
    spans = _merged([(min(r.frames), min(max(r.frames), last)) for r in reasons])
    words, camera = definition(gravest.measure).words, gravest.measure.rpartition("/")[0]
    about = [part for part in (camera, gravest.track and f"object {short_id(gravest.track)}") if part]
    words = ", ".join(about) + f": {words}" if about else words
    return Mark(
        words=words,
        spans=spans,
        peak=_peak(gravest, times),
        broke=True,
        track=gravest.track,
    )


def _standing_out(same: Sequence[Stretch]) -> Mark:
    """One mark for stretches of the same; its peak is that of the longest."""
    longest = max(same, key=lambda stretch: stretch.num_frames)
    return Mark(
        words=longest.words.replace("the box", f"box {short_id(longest.track)}"),
        spans=tuple((stretch.first, stretch.last) for stretch in same),
        peak=longest.peak,
        broke=False,
        track=longest.track,
    )


def _peak(reason: Reason, times: Timeline) -> int:
    first, last = min(reason.frames), min(max(reason.frames), times.num_frames - 1)
    if definition(reason.measure).family in ("tracks", "pose"):
        return first + int(np.argmax(np.nan_to_num(times.residual[first : last + 1, 1])))
    if reason.track in times.unsupported:
        share = np.nan_to_num(times.unsupported[reason.track][first : last + 1])
        highest = np.flatnonzero(share == share.max())
        return first + int(highest[len(highest) // 2])
    return last


def _merged(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _apart(frame: int, shown: dict[int, Shown], spacing: int) -> bool:
    return all(abs(frame - other) >= spacing for other in shown)


def _ordinary(times: Timeline, marks: Sequence[Mark], shown: dict[int, Shown]) -> int | None:
    """None where something is marked everywhere, or the background strays everywhere.

    Objects are looked at over some frames, so what is marked may have begun as many before.
    """
    marked = {
        t for mark in marks for first, last in mark.spans for t in range(first - (GAP if mark.track else 0), last + 1)
    }
    free = [t for t in range(1, times.num_frames) if t not in marked and not times.residual[t, 1] > ORDINARY_PX]
    if not free:
        return None
    before = [t for t in free if shown and t < min(shown)]
    middle = times.num_frames // 2
    return before[-1] if before else min(free, key=lambda t: abs(t - (min(shown) if shown else middle)))
