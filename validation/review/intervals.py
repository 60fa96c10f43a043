"""Outlier intervals of a clip: repeated frames, jumps, motion that differs from the command, boxes without an object.

There is no verdict here: an interval is an outlier relative to the rest of the same clip, or by a visible amount.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pose_refinement import GAP
from driveforge.validation.point_tracking.protocol import Mask
from driveforge.validation.review.timeline import Timeline

# A frame is repeated below, and the image jumps above this multiple of the usual change.
REPEATED, JUMP = 0.2, 2.5
MUCH_LOST, JUMP_LOST = 0.5, 0.2  # share of the points in view: by itself, and together with a jump
STRAYS_PX = 2.0  # reference px over GAP frames
TURNS_DEG_S, HEADS_DEG = 1.5, 3.0  # difference from the commanded rate and direction
MIN_INTERVAL_FRAMES = 4  # the motion of shorter intervals is too uncertain
UNSUPPORTED = 0.7  # share of the points on a box
MOVES_M_S = 0.5  # commanded speed below which the image may be static


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Frames ``first`` to ``last`` in which ``description`` holds, most clearly at ``peak``."""

    first: int
    last: int
    peak: int
    description: str
    track: str = ""

    @property
    def num_frames(self) -> int:
        return self.last - self.first + 1


def find_intervals(timeline: Timeline) -> list[Interval]:
    """All outlier intervals: of the image, then of the camera, then of objects, each in the order of frames.

    Effects of a repeated frame or of a jump are not listed separately.
    """
    moves = ~(timeline.speed < MOVES_M_S)
    median = timeline.residual[:, 1]
    turns = np.abs(timeline.yaw_observed - timeline.yaw_commanded)
    jumps = (timeline.change > JUMP) & _peaks(timeline.change) & ~(timeline.lost < JUMP_LOST)
    causes = [
        *_flagged_intervals(
            (timeline.change < REPEATED) & moves, -timeline.change, "almost no change from the previous frame"
        ),
        *_flagged_intervals(jumps, timeline.change, "the image jumps"),
    ]
    effects = [
        *_flagged_intervals(timeline.lost > MUCH_LOST, timeline.lost, "most points cannot be tracked"),
        *_drop_short(
            replace(interval, description=_describe_turn(timeline, interval))
            for interval in _flagged_intervals(turns > TURNS_DEG_S, turns)
        ),
        *_drop_short(
            replace(interval, description=_describe_heading(timeline, interval))
            for interval in _flagged_intervals(timeline.heading_error > HEADS_DEG, timeline.heading_error)
        ),
        *_flagged_intervals(median > STRAYS_PX, median, "the background deviates from the command"),
    ]
    for track, share in timeline.unsupported.items():
        effects += _flagged_intervals(share > UNSUPPORTED, share, "nothing moves with the box", track)
    return [*causes, *(interval for interval in effects if not any(_is_caused_by(cause, interval) for cause in causes))]


def _is_caused_by(cause: Interval, interval: Interval) -> bool:
    """Residuals span ``GAP`` frames, so a repeated frame or a jump affects them for that long."""
    return cause.first <= interval.first and interval.last <= cause.last + GAP + 1


def _drop_short(intervals: Iterable[Interval]) -> list[Interval]:
    return [interval for interval in intervals if interval.num_frames >= MIN_INTERVAL_FRAMES]


def _describe_turn(timeline: Timeline, interval: Interval) -> str:
    frames = slice(interval.first, interval.last + 1)
    commanded, observed = (
        float(np.nanmean(rates[frames])) for rates in (timeline.yaw_commanded, timeline.yaw_observed)
    )
    if abs(observed - commanded) < TURNS_DEG_S:
        return "the turn rate jitters around the command"
    return f"the pixels turn {_side(observed)}, the command {_side(commanded)}"


def _describe_heading(timeline: Timeline, interval: Interval) -> str:
    off = float(np.nanmedian(timeline.heading_error[interval.first : interval.last + 1]))
    return f"the pixels head {off:.0f} deg off the commanded direction"


def _side(rate: float) -> str:
    return f"{abs(rate):.1f} deg/s {'left' if rate > 0 else 'right'}"


def _flagged_intervals(flags: Mask, score: Array, description: str = "", track: str = "") -> Iterator[Interval]:
    """Runs of flagged frames; a gap of one frame does not split a run."""
    flagged = np.flatnonzero(flags)
    for interval in np.split(flagged, np.flatnonzero(np.diff(flagged) > 2) + 1) if len(flagged) else []:
        highest = interval[score[interval] == score[interval].max()]
        peak = int(highest[len(highest) // 2])
        yield Interval(first=int(interval[0]), last=int(interval[-1]), peak=peak, description=description, track=track)


def _peaks(values: Array) -> Mask:
    """Whether a value also exceeds both neighbors, so that a sequence of large changes is not a jump."""
    filled = np.nan_to_num(values)
    around = np.maximum(np.r_[0.0, filled[:-1]], np.r_[filled[1:], 0.0])
    return np.asarray(filled > 1.5 * around)
