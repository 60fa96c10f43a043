"""Pairs of frames: their common background tracks as directions, and the commanded motion between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.protocol import Mask, Points
from driveforge.validation.point_tracking.tracks import Tracks, TrackWindow
from driveforge.validation.records import MOVING_EGO, STATIONARY_EGO, TOO_FEW_TRACKS
from driveforge.validation.views.view import CameraMotion, CommandedCamera

MIN_TRACKS = 15
# Below this baseline noise dominates the direction of the translation, and with it the epipolar geometry.
MIN_BASELINE_M = 0.25


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FramePair:
    """``a`` and ``b`` ``(N, 3)`` are the directions (z = 1) of the same points in frames ``first`` and ``last``.

    ``image`` ``(N, 2)`` px are their positions in the first frame.
    """

    first: int
    last: int
    a: Array
    b: Array
    image: Points
    motion: CameraMotion

    @property
    def frames(self) -> tuple[int, int]:
        return self.first, self.last

    def __len__(self) -> int:
        return len(self.a)


def make_pair(
    window: TrackWindow, i: int, j: int, command: CommandedCamera, selection: Mask | None = None
) -> FramePair:
    """The tracks of a window that are alive from its ``i``-th to its ``j``-th frame (and in ``selection``)."""
    alive = window.alive[j] if selection is None else window.alive[j] & selection
    first, last = window.start + i, window.start + j
    return FramePair(
        first=first,
        last=last,
        a=command.directions(window.points[i, alive]),
        b=command.directions(window.points[j, alive]),
        image=window.points[i, alive],
        motion=command.motion(first, last),
    )


def longest_pairs(tracks: Tracks, command: CommandedCamera) -> list[FramePair]:
    """For each window, its first frame and the last one with enough live tracks."""
    return [make_pair(w, 0, _longest_gap(w), command) for w in tracks.background if w.length > 1]


def pairs_with_gap(tracks: Tracks, command: CommandedCamera, gap: int) -> list[FramePair]:
    """For each window, its first frame and the one ``gap`` frames later (or its last)."""
    return [make_pair(w, 0, min(gap, w.length - 1), command) for w in tracks.background if w.length > 1]


def adjacent_pairs(tracks: Tracks, command: CommandedCamera) -> list[FramePair]:
    """Every pair of neighboring frames once."""
    return [make_pair(window, k - 1, k, command) for k, window in tracks.steps()]


def _longest_gap(window: TrackWindow) -> int:
    enough = np.flatnonzero(window.alive.sum(1) >= MIN_TRACKS)
    return max(int(enough[-1]), 1) if len(enough) else window.length - 1


def derotate(pair: FramePair) -> Array:
    """Positions ``(N, 2)`` on the plane z = 1 of the tracks after the commanded rotation without translation."""
    turned = pair.a @ pair.motion.rotation.T
    return np.asarray(turned[:, :2] / np.maximum(turned[:, 2:], 1e-6))


def derotated_flow(pair: FramePair) -> Array:
    """Flow ``(N, 2)`` on the plane z = 1 without the part of the commanded rotation."""
    return pair.b[:, :2] - derotate(pair)


def moving_pairs(
    pairs: Iterable[FramePair], min_baseline: float = MIN_BASELINE_M, min_tracks: int = MIN_TRACKS
) -> list[FramePair]:
    """The pairs over which the camera is commanded to move, with enough tracks."""
    return [p for p in pairs if p.motion.baseline >= min_baseline and len(p) >= min_tracks]


def stationary_pairs(pairs: Iterable[FramePair], min_baseline: float = MIN_BASELINE_M) -> list[FramePair]:
    """The pairs over which the camera is commanded to be stationary (it may rotate), with enough tracks."""
    return [p for p in pairs if p.motion.baseline < min_baseline and len(p) >= MIN_TRACKS]


def not_moving_reason(pairs: Sequence[FramePair], min_baseline: float = MIN_BASELINE_M) -> str:
    """The reason why ``moving_pairs`` is empty."""
    return _no_pairs_reason([p for p in pairs if p.motion.baseline >= min_baseline], STATIONARY_EGO)


def not_stationary_reason(pairs: Sequence[FramePair], min_baseline: float = MIN_BASELINE_M) -> str:
    """The reason why ``stationary_pairs`` is empty."""
    return _no_pairs_reason([p for p in pairs if p.motion.baseline < min_baseline], MOVING_EGO)


def _no_pairs_reason(candidates: Sequence[FramePair], default: str) -> str:
    return too_few_tracks_reason(max(map(len, candidates))) if candidates else default


def too_few_tracks_reason(count: int) -> str:
    return f"{TOO_FEW_TRACKS} ({count})"
