"""Background tracks against the epipolar geometry of the *commanded* motion; nothing is fitted to the tracks."""

from collections.abc import Sequence

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.epipolar import track_residuals
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
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.records import STATIONARY_EGO, Measure, Sample, median_measure, worst_measure
from driveforge.validation.views.view import CommandedCamera

MIN_ADJACENT_BASELINE_M = 0.12
MIN_FLOW_PX = 0.35  # reference px; shorter flow has no direction
MIN_MOVING_TRACKS = 24


def epipolar_measures(tracked: TrackedView) -> list[Measure]:
    """Median residual over the longest gaps (median and worst window) and over neighboring frames (worst step)."""
    tracks, command = tracked.tracks, tracked.command
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


def stationary_measure(tracked: TrackedView) -> Measure:
    """Median flow of tracks without the commanded rotation, while the camera is commanded to be stationary.

    Reference px over the longest gap with enough tracks; the worst window.
    """
    pairs, pixel = longest_pairs(tracked.tracks, tracked.command), tracked.command.pixel
    samples = [
        Sample(value=float(np.median(np.linalg.norm(derotated_flow(p), axis=1))) / pixel, frames=p.frames)
        for p in stationary_pairs(pairs, MIN_ADJACENT_BASELINE_M)
    ]
    return worst_measure("track_stationary", samples, not_stationary_reason(pairs, MIN_ADJACENT_BASELINE_M))


def cheirality_measure(tracked: TrackedView) -> Measure:
    """Share of track steps in the wrong direction along their epipolar line; the worst window.

    Without rotation a point in front of the camera moves along (t_x - x t_z, t_y - y t_z). The Sampson distance does
    not depend on the sign, so only this measure detects a clip that is played backward.
    """
    tracks, command = tracked.tracks, tracked.command
    samples, max_tracks, is_moving = [], 0, False
    for window in tracks.background:
        steps = [make_pair(window, k - 1, k, command) for k in range(1, window.length)]
        steps = moving_pairs(steps, MIN_ADJACENT_BASELINE_M, min_tracks=1)
        wrong = np.concatenate([_is_against_direction(step, command.pixel) for step in steps] or [np.zeros(0)])
        max_tracks, is_moving = max(max_tracks, len(wrong)), is_moving or bool(steps)
        if len(wrong) >= MIN_MOVING_TRACKS:
            samples.append(Sample(value=float(wrong.mean()), frames=(steps[0].first, steps[-1].last)))
    reason = too_few_tracks_reason(max_tracks) if is_moving else STATIONARY_EGO
    return worst_measure("track_cheirality", samples, reason)


def _is_against_direction(pair: FramePair, pixel: float) -> Array:
    """1 for a track that moves against its expected direction, else 0; tracks with little flow are left out."""
    expected = pair.motion.translation[:2] - derotate(pair) * pair.motion.translation[2]
    along = (derotated_flow(pair) * expected).sum(1) / np.maximum(np.linalg.norm(expected, axis=1), 1e-9)
    return np.asarray(along[np.abs(along) > MIN_FLOW_PX * pixel] < 0, np.float64)
