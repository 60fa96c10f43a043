"""Background tracks against the epipolar geometry of the *commanded* motion, which is fitted to nothing.

A fixed point seen along x_a and x_b (z = 1) fulfils x_b' E x_a = 0 with E = [t]x R. How far a track is from that is
told by the first-order geometric (Sampson) distance: Hartley and Zisserman, "Multiple View Geometry", 2nd ed., (11.9).
"""

from collections.abc import Sequence

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pairs import (
    Pair,
    adjacent_pairs,
    derotated,
    derotated_flow,
    longest_pairs,
    moving,
    pair_of,
    standing,
    too_few_tracks,
    why_not_moving,
    why_not_standing,
)
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.records import STATIONARY_EGO, Measure, Sample, typical, worst
from driveforge.validation.views.view import Command

MIN_ADJACENT_BASELINE_M = 0.12
MIN_FLOW_PX = 0.35  # reference px; shorter flow has no direction
MIN_MOVING_TRACKS = 24


def cross_matrix(vectors: Array) -> Array:
    """``(..., 3, 3)`` matrices [v]x with [v]x u = v x u, for vectors ``(..., 3)``."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [np.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, -2)


def essential(rotation: Array, translation: Array) -> Array:
    """E = [t]x R with t of unit length; ``(..., 3, 3)``."""
    unit = translation / np.linalg.norm(translation, axis=-1, keepdims=True)
    return np.asarray(cross_matrix(unit) @ rotation)


def sampson(essentials: Array, a: Array, b: Array) -> Array:
    """Signed Sampson distances ``(..., N)`` on the plane z = 1, of directions ``(N, 3)`` under E ``(..., 3, 3)``.

    d = b'Ea / sqrt((Ea)_1² + (Ea)_2² + (E'b)_1² + (E'b)_2²); it does not change with the scale of E.
    """
    forward, backward = a @ np.swapaxes(essentials, -1, -2), b @ essentials
    gradient = (forward[..., :2] ** 2).sum(-1) + (backward[..., :2] ** 2).sum(-1)
    return np.asarray((forward * b).sum(-1) / np.sqrt(np.maximum(gradient, 1e-18)))


def track_residuals(pair: Pair, pixel: float) -> Array:
    """Absolute Sampson distance ``(N,)`` of every track to the commanded motion, reference px."""
    return np.abs(sampson(essential(pair.motion.rotation, pair.motion.translation), pair.a, pair.b)) / pixel


def epipolar_measures(tracks: Tracks, command: Command) -> list[Measure]:
    """Median residual of neighbouring frames (worst step) and of the longest gaps (typical and worst window)."""
    near, far = adjacent_pairs(tracks, command), longest_pairs(tracks, command)
    steps = _medians(moving(near, MIN_ADJACENT_BASELINE_M), command)
    windows, why = _medians(moving(far), command), why_not_moving(far)
    return [
        typical("track_epipolar", windows, why),
        worst("track_epipolar_worst", windows, why),
        worst("track_epipolar_adjacent", steps, why_not_moving(near, MIN_ADJACENT_BASELINE_M)),
    ]


def _medians(pairs: Sequence[Pair], command: Command) -> list[Sample]:
    return [Sample(value=float(np.median(track_residuals(p, command.pixel))), frames=p.frames) for p in pairs]


def stationary_measure(tracks: Tracks, command: Command) -> Measure:
    """Median distance of tracks from where the commanded rotation alone puts them, where the camera was told to stand.

    Reference px over the longest gap that tracks survive; the largest of all such windows.
    """
    pairs = longest_pairs(tracks, command)
    samples = [
        Sample(value=float(np.median(np.linalg.norm(derotated_flow(p), axis=1))) / command.pixel, frames=p.frames)
        for p in standing(pairs, MIN_ADJACENT_BASELINE_M)
    ]
    return worst("track_stationary", samples, why_not_standing(pairs, MIN_ADJACENT_BASELINE_M))


def cheirality_measure(tracks: Tracks, command: Command) -> Measure:
    """Share of tracks that move towards the wrong end of their epipolar line; the largest of all windows.

    Without rotation a point in front of the camera moves along (t_x - x t_z, t_y - y t_z). Sampson's distance does not
    see the sign, so a clip played backwards passes it and fails here.
    """
    samples, most, moves = [], 0, False
    for window in tracks.background:
        steps = [pair_of(window, k - 1, k, command) for k in range(1, window.length)]
        steps = moving(steps, MIN_ADJACENT_BASELINE_M, min_tracks=1)
        wrong = np.concatenate([_moves_backwards(step, command.pixel) for step in steps] or [np.zeros(0)])
        most, moves = max(most, len(wrong)), moves or bool(steps)
        if len(wrong) >= MIN_MOVING_TRACKS:
            samples.append(Sample(value=float(wrong.mean()), frames=(steps[0].first, steps[-1].last)))
    return worst("track_cheirality", samples, too_few_tracks(most) if moves else STATIONARY_EGO)


def _moves_backwards(pair: Pair, pixel: float) -> Array:
    """1 where a track moves against its expected direction, 0 where along it; those with hardly any flow left out."""
    expected = pair.motion.translation[:2] - derotated(pair) * pair.motion.translation[2]
    along = (derotated_flow(pair) * expected).sum(1) / np.maximum(np.linalg.norm(expected, axis=1), 1e-9)
    return np.asarray(along[np.abs(along) > MIN_FLOW_PX * pixel] < 0, np.float64)
