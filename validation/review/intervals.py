"""What stands out in a clip frame by frame, and when: repeats, jumps, motion off the command, boxes that hold nothing.

Nothing is judged here: it stands out beside the rest of the same clip, or by an amount that anybody can see in it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pose_refinement import GAP
from driveforge.validation.point_tracking.protocol import Mask
from driveforge.validation.review.timeline import Timeline

# A frame repeats when hardly anything changes, the picture jumps when much more does than usual.
REPEATED, JUMP = 0.2, 2.5  # share of the usual change, times the usual change
MUCH_LOST, JUMP_LOST = 0.5, 0.2  # share of the points in view: by itself, and at least where the picture jumps
STRAYS_PX = 2.0  # reference px over GAP frames
TURNS_DEG_S, HEADS_DEG = 1.5, 3.0  # off the commanded rate, off the commanded direction
LASTING = 4  # frames: motion is not known so well that a shorter time tells anything
UNSUPPORTED = 0.7  # share of the points on a box
MOVES_M_S = 0.5  # commanded: below it a picture may stand still


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Frames ``first`` to ``last`` in which something stands out, in ``words``; most so at ``peak``."""

    first: int
    last: int
    peak: int
    words: str
    track: str = ""

    @property
    def num_frames(self) -> int:
        return self.last - self.first + 1


def stretches(times: Timeline) -> list[Stretch]:
    """What stands out in the clip: the picture itself, then the camera, then objects, each in the order of frames.

    What a repeated or a jumping picture brings with it is not told again.
    """
    moves = ~(times.speed < MOVES_M_S)
    median = times.residual[:, 1]
    turns = np.abs(times.yaw_seen - times.yaw_commanded)
    jumps = (times.change > JUMP) & _peaks(times.change) & ~(times.lost < JUMP_LOST)
    causes = [
        *_runs((times.change < REPEATED) & moves, -times.change, "hardly a change from the frame before"),
        *_runs(jumps, times.change, "the picture jumps"),
    ]
    found = [
        *_runs(times.lost > MUCH_LOST, times.lost, "most points cannot be followed"),
        *_lasting(replace(run, words=_turning(times, run)) for run in _runs(turns > TURNS_DEG_S, turns)),
        *_lasting(
            replace(r, words=_heading(times, r)) for r in _runs(times.heading_off > HEADS_DEG, times.heading_off)
        ),
        *_runs(median > STRAYS_PX, median, "the background strays from the command"),
    ]
    for track, share in times.unsupported.items():
        found += _runs(share > UNSUPPORTED, share, "nothing moves with the box", track)
    return [*causes, *(run for run in found if not any(_brought_by(cause, run) for cause in causes))]


def _brought_by(cause: Stretch, stretch: Stretch) -> bool:
    """Points are followed over ``GAP`` frames, so that long a repeated or jumping frame shows in everything else."""
    return cause.first <= stretch.first and stretch.last <= cause.last + GAP + 1


def _lasting(runs: Iterable[Stretch]) -> list[Stretch]:
    return [run for run in runs if run.num_frames >= LASTING]


def _turning(times: Timeline, run: Stretch) -> str:
    frames = slice(run.first, run.last + 1)
    told, seen = (float(np.nanmean(rates[frames])) for rates in (times.yaw_commanded, times.yaw_seen))
    if abs(seen - told) < TURNS_DEG_S:
        return "the turn rate jitters about the command"
    return f"the pixels turn {_side(seen)}, the command {_side(told)}"


def _heading(times: Timeline, run: Stretch) -> str:
    off = float(np.nanmedian(times.heading_off[run.first : run.last + 1]))
    return f"the pixels head {off:.0f} deg off the commanded direction"


def _side(rate: float) -> str:
    return f"{abs(rate):.1f} deg/s {'left' if rate > 0 else 'right'}"


def _runs(flags: Mask, height: Array, words: str = "", track: str = "") -> Iterator[Stretch]:
    """Runs of flagged frames; one frame between two of them does not part them."""
    at = np.flatnonzero(flags)
    for run in np.split(at, np.flatnonzero(np.diff(at) > 2) + 1) if len(at) else []:
        highest = run[height[run] == height[run].max()]
        peak = int(highest[len(highest) // 2])
        yield Stretch(first=int(run[0]), last=int(run[-1]), peak=peak, words=words, track=track)


def _peaks(values: Array) -> Mask:
    """Where a value stands out from both its neighbours too, so that a lively stretch is no jump."""
    filled = np.nan_to_num(values)
    around = np.maximum(np.r_[0.0, filled[:-1]], np.r_[filled[1:], 0.0])
    return np.asarray(filled > 1.5 * around)
