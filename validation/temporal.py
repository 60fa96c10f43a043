"""Temporal measures: frozen, repeated, cut and reordered frames, lost tracks, flicker. Only freezes need a pose."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pairs import (
    MIN_BASELINE_M,
    MIN_TRACKS,
    longest_pairs,
    moving_pairs,
    not_moving_reason,
    too_few_tracks_reason,
)
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.point_tracking.protocol import Points
from driveforge.validation.records import (
    TOO_FEW_FRAMES,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    median_measure,
    worst_measure,
)
from driveforge.validation.views.pixels import blur_scale

MIN_FRAMES = 5
NEIGHBOR_STEPS = 3  # on either side, for the usual change
MIN_STEP_TRACKS = 8
# Changes of blurred frames, gray levels. H.264 redraws a still picture at a key frame: 0.2 at crf 18 to 2.5 at crf 33
# and strong texture, for sensor noise of 0.5 to 8 gray levels. NOISE_GRAY is what noise of 3 gray levels changes, and a
# codec removes.
CODEC_GRAY, NOISE_GRAY = 2.5, 0.3
BLOCK = 8  # px, the smallest transform block
STILL_PX = 1.0  # reference px over the longest gap
HIGH_PASS = 7  # frames
OFFSET = 8.0  # gray levels added to patch means, so that noise in dark patches does not dominate


def still_measure(tracked: TrackedView) -> Measure:
    """Share of tracks that move less than ``STILL_PX`` while the camera is commanded to move; the worst window.

    A frozen clip satisfies the epipolar constraint of any translation, so it needs this separate measure.
    """
    pairs = longest_pairs(tracked.tracks, tracked.command)
    samples = []
    for pair in moving_pairs(pairs):
        shift = np.linalg.norm(pair.b - pair.a, axis=1) / tracked.command.pixel
        samples.append(Sample(value=float((shift < STILL_PX).mean()), frames=pair.frames))
    return worst_measure("time_still", samples, not_moving_reason(pairs))


def change_measures(tracked: TrackedView) -> list[Measure]:
    """Mean absolute change of a step over the median of its neighbors: the least (duplicate) and the largest (cut).

    A camera at rest sees changes near zero, and their ratio is that of noise. So both changes are increased by what a
    codec alone can change: a key frame redraws a picture that was copied from frame to frame, and between key frames
    blocks are copied, so that steps without any change are usual in a clip with copied blocks.
    """
    gray = tracked.view.gray
    if len(gray) < MIN_FRAMES:
        return [make_unmeasurable(name, TOO_FEW_FRAMES) for name in ("time_duplicate", "time_cut")]
    change = frame_changes(gray)
    usual = _neighbor_median(change)
    if change.any() or _is_commanded_to_stand(tracked):
        copied = NOISE_GRAY + CODEC_GRAY * float(np.median(copied_shares(gray)))
        remaining = (change + copied) / (usual + copied)
    else:
        remaining = np.zeros(len(change))  # nothing changes although nothing commands the camera to stand
    jump = (change + CODEC_GRAY) / (usual + CODEC_GRAY)
    least, most = int(np.argmin(remaining)), int(np.argmax(jump))
    return [
        make_measure("time_duplicate", max(0.0, 1.0 - float(remaining[least])), (least, least + 1)),
        make_measure("time_cut", float(jump[most]), (most, most + 1)),
    ]


def _is_commanded_to_stand(tracked: TrackedView) -> bool:
    """Whether the camera stays in its place in all frames; False without a command."""
    command = tracked.view.command
    if command is None:
        return False
    centers = command.camera_to_world[:, :3, 3]
    return bool(np.linalg.norm(centers - centers[0], axis=1).max() < MIN_BASELINE_M)


def frame_changes(gray: NDArray[np.uint8]) -> Array:
    """Mean absolute change ``(T - 1,)`` of every step, gray levels, of blurred frames ``(T, H, W)``."""
    sigma = max(0.8, blur_scale(*gray.shape[1:]))
    blurred = (cv2.GaussianBlur(frame, (0, 0), sigma).astype(np.float32) for frame in gray)
    return np.array([np.abs(b - a).mean() for a, b in pairwise(blurred)])


def copied_shares(gray: NDArray[np.uint8]) -> Array:
    """Share ``(T - 1,)`` of blocks of 8 x 8 pixels of frames ``(T, H, W)`` that do not change at all in each step.

    Codecs copy (skip) blocks; the noise of a camera changes some pixel of nearly every block. 0 for tiny images.
    """
    rows, columns = (side // BLOCK * BLOCK for side in gray.shape[1:])
    if not rows * columns:
        return np.zeros(len(gray) - 1)
    shares = []
    for before, after in pairwise(gray[:, :rows, :columns]):
        changed = cv2.absdiff(before, after).reshape(rows // BLOCK, BLOCK, -1, BLOCK).any((1, 3))
        shares.append(1.0 - float(changed.mean()))
    return np.array(shares)


def _neighbor_median(change: Array) -> Array:
    """Median of the neighbors of each step, without the step."""
    windows = [
        np.concatenate([change[max(0, t - NEIGHBOR_STEPS) : t], change[t + 1 : t + 1 + NEIGHBOR_STEPS]])
        for t in range(len(change))
    ]
    return np.array([np.median(window) for window in windows])


def track_loss_measure(tracked: TrackedView) -> Measure:
    """Share of background points in view that fail the forward-backward check in a step; the worst step."""
    samples, max_tracks = [], 0
    for k, window in tracked.tracks.steps():
        kept, lost = int(window.alive[k].sum()), int(window.lost[k].sum())
        max_tracks = max(max_tracks, kept + lost)
        if kept + lost >= MIN_STEP_TRACKS:
            frame = window.start + k
            samples.append(Sample(value=lost / (kept + lost), frames=(frame - 1, frame)))
    return worst_measure("time_track_loss", samples, too_few_tracks_reason(max_tracks))


def acceleration_measure(tracked: TrackedView) -> Measure:
    """Median velocity change of background points in two steps, over 1 px plus the median speed; the worst frames."""
    speeds, samples, max_tracks = [], [], 0
    for window in tracked.tracks.background:
        for k in range(2, window.length):
            alive = window.alive[k]
            max_tracks = max(max_tracks, int(alive.sum()))
            if alive.sum() < MIN_STEP_TRACKS:
                continue
            velocity = np.diff(window.points[k - 2 : k + 1, alive].astype(np.float64), axis=0) * tracked.view.scale
            speeds.append(float(np.median(np.linalg.norm(velocity[1], axis=1))))
            change = float(np.median(np.linalg.norm(velocity[1] - velocity[0], axis=1)))
            samples.append(Sample(value=change, frames=(window.start + k - 2, window.start + k)))
    # 1 px keeps tracking noise in slow clips from counting as acceleration.
    usual = 1.0 + float(np.median(speeds)) if speeds else 1.0
    relative = [Sample(value=s.value / usual, frames=s.frames) for s in samples]
    return worst_measure("time_acceleration", relative, too_few_tracks_reason(max_tracks))


def photometric_measures(tracked: TrackedView) -> list[Measure]:
    """Flicker and boil of the patches around background points, from step to step.

    Global flicker: standard deviation of the high-passed median log gain. Local flicker: median absolute deviation of
    the log gains of a step. Boil: 1 - the median normalized correlation of the patches.
    """
    gray = tracked.view.gray
    frames, gains, spreads, boils, max_tracks = [], [], [], [], 0
    for k, window in tracked.tracks.steps():
        alive, t = window.alive[k], window.start + k
        max_tracks = max(max_tracks, int(alive.sum()))
        if alive.sum() < MIN_STEP_TRACKS:
            continue
        before, after = _patches(gray[t - 1], window.points[k - 1, alive]), _patches(gray[t], window.points[k, alive])
        gain = np.log((after.mean(1) + OFFSET) / (before.mean(1) + OFFSET))
        frames.append(t)
        gains.append(float(np.median(gain)))
        spreads.append(Sample(value=float(np.median(np.abs(gain - np.median(gain)))), frames=(t - 1, t)))
        boils.append(Sample(value=1.0 - _median_correlation(before, after), frames=(t - 1, t)))
    reason = too_few_tracks_reason(max_tracks) if max_tracks < MIN_TRACKS else TOO_FEW_FRAMES
    return [
        _global_flicker(frames, gains, reason),
        median_measure("time_flicker_local", spreads, reason),
        median_measure("time_boil", boils, reason),
    ]


def _global_flicker(frames: Sequence[int], gains: Sequence[float], reason: str) -> Measure:
    if len(gains) < HIGH_PASS:
        return make_unmeasurable("time_flicker_global", reason)
    slow = cv2.blur(np.array(gains).reshape(-1, 1), (1, HIGH_PASS)).ravel()  # moving average over time
    fast = np.array(gains) - slow
    at = frames[int(np.argmax(np.abs(fast)))]
    return make_measure("time_flicker_global", float(np.std(fast)), (at - 1, at))


def _patches(image: NDArray[np.uint8], points: Points) -> Array:
    """Gray patches ``(N, S)`` around points ``(N, 2)``, bilinearly sampled."""
    radius = 3 if image.shape[0] > 64 else 2
    dx, dy = np.meshgrid(np.arange(-radius, radius + 1), np.arange(-radius, radius + 1))
    x = (points[:, 0, None] + dx.ravel()).astype(np.float32)
    y = (points[:, 1, None] + dy.ravel()).astype(np.float32)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float64)


def _median_correlation(before: Array, after: Array) -> float:
    a, b = before - before.mean(1, keepdims=True), after - after.mean(1, keepdims=True)
    return float(np.median((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1) + 1e-3)))
