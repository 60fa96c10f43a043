"""Background tracks against the epipolar geometry of the *commanded* motion, which is fitted to nothing.

A fixed point seen along x_a and x_b (z = 1) fulfils x_b' E x_a = 0 with E = [t]x R. How far a track is from that is
told by the first-order geometric (Sampson) distance: Hartley and Zisserman, "Multiple View Geometry", 2nd ed., (11.9).
"""

from collections.abc import Sequence

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pairs import (
    FramePair,
    adjacent_pairs,
    derotate,
    derotated_flow,
    longest_pairs,
    make_pair,
    moving_pairs,
    not_moving_reason,
    not_stationary_reason,
    stationary_pairs,
    too_few_tracks_reason,
)
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.records import STATIONARY_EGO, Measure, Sample, median_measure, worst_measure
from driveforge.validation.views.view import CommandedCamera

MIN_ADJACENT_BASELINE_M = 0.12
MIN_FLOW_PX = 0.35  # reference px; shorter flow has no direction
MIN_MOVING_TRACKS = 24


def skew_symmetric(vectors: Array) -> Array:
    """``(..., 3, 3)`` matrices [v]x with [v]x u = v x u, for vectors ``(..., 3)``."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [np.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, -2)


def essential_matrix(rotation: Array, translation: Array) -> Array:
    """E = [t]x R with t of unit length; ``(..., 3, 3)``."""
    unit = translation / np.linalg.norm(translation, axis=-1, keepdims=True)
    return np.asarray(skew_symmetric(unit) @ rotation)


def sampson_distance(essentials: Array, a: Array, b: Array) -> Array:
    """Signed Sampson distances ``(..., N)`` on the plane z = 1, of directions ``(N, 3)`` under E ``(..., 3, 3)``.

    d = b'Ea / sqrt((Ea)_1² + (Ea)_2² + (E'b)_1² + (E'b)_2²); it does not change with the scale of E.
    """
    forward, backward = a @ np.swapaxes(essentials, -1, -2), b @ essentials
    gradient = (forward[..., :2] ** 2).sum(-1) + (backward[..., :2] ** 2).sum(-1)
    return np.asarray((forward * b).sum(-1) / np.sqrt(np.maximum(gradient, 1e-18)))


def track_residuals(pair: FramePair, pixel: float) -> Array:
    """Absolute Sampson distance ``(N,)`` of every track to the commanded motion, reference px."""
    return (
        np.abs(sampson_distance(essential_matrix(pair.motion.rotation, pair.motion.translation), pair.a, pair.b))
        / pixel
    )


def epipolar_measures(tracks: Tracks, command: CommandedCamera) -> list[Measure]:
    """Median residual of neighboring frames (worst step) and of the longest gaps (typical and worst window)."""
    near, far = adjacent_pairs(tracks, command), longest_pairs(tracks, command)
    steps = _medians(moving_pairs(near, MIN_ADJACENT_BASELINE_M), command)
    windows, reason = _medians(moving_pairs(far), command), not_moving_reason(far)
    return [
        median_measure("track_epipolar", windows, reason),
        worst_measure("track_epipolar_worst", windows, reason),
        worst_measure("track_epipolar_adjacent", steps, not_moving_reason(near, MIN_ADJACENT_BASELINE_M)),
    ]


def _medians(pairs: Sequence[FramePair], command: CommandedCamera) -> list[Sample]:
    return [Sample(value=float(np.median(track_residuals(p, command.pixel))), frames=p.frames) for p in pairs]


def stationary_measure(tracks: Tracks, command: CommandedCamera) -> Measure:
    """Median distance of tracks from where the commanded rotation alone puts them, where the camera was told to stand.

    Reference px over the longest gap that tracks survive; the largest of all such windows.
    """
    pairs = longest_pairs(tracks, command)
    samples = [
        Sample(value=float(np.median(np.linalg.norm(derotated_flow(p), axis=1))) / command.pixel, frames=p.frames)
        for p in stationary_pairs(pairs, MIN_ADJACENT_BASELINE_M)
    ]
    return worst_measure("track_stationary", samples, not_stationary_reason(pairs, MIN_ADJACENT_BASELINE_M))


def cheirality_measure(tracks: Tracks, command: CommandedCamera) -> Measure:
    """Share of tracks that move towards the wrong end of their epipolar line; the largest of all windows.

    Without rotation a point in front of the camera moves along (t_x - x t_z, t_y - y t_z). Sampson's distance does not
    see the sign, so a clip played backwards passes it and fails here.
    """
    samples, max_tracks, is_moving = [], 0, False
    for window in tracks.background:
        steps = [make_pair(window, k - 1, k, command) for k in range(1, window.length)]
        steps = moving_pairs(steps, MIN_ADJACENT_BASELINE_M, min_tracks=1)
        wrong = np.concatenate([_is_against_direction(step, command.pixel) for step in steps] or [np.zeros(0)])
        max_tracks, is_moving = max(max_tracks, len(wrong)), is_moving or bool(steps)
        if len(wrong) >= MIN_MOVING_TRACKS:
            samples.append(Sample(value=float(wrong.mean()), frames=(steps[0].first, steps[-1].last)))
    return worst_measure(
        "track_cheirality", samples, too_few_tracks_reason(max_tracks) if is_moving else STATIONARY_EGO
    )


def _is_against_direction(pair: FramePair, pixel: float) -> Array:
    """1 where a track moves against its expected direction, 0 where along it; those with hardly any flow left out."""
    expected = pair.motion.translation[:2] - derotate(pair) * pair.motion.translation[2]
    along = (derotated_flow(pair) * expected).sum(1) / np.maximum(np.linalg.norm(expected, axis=1), 1e-9)
    return np.asarray(along[np.abs(along) > MIN_FLOW_PX * pixel] < 0, np.float64)
