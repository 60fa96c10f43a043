"""Deviation of the camera motion estimated from background tracks from the command, and residuals of that estimate."""

import cv2
import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.epipolar import essential_matrix, sampson_distance
from driveforge.validation.camera.pairs import FramePair
from driveforge.validation.camera.pose_refinement import RefinedMotion, yaw_about
from driveforge.validation.camera.regions import region_medians, worst_agreed
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.camera.triangulation import reprojection_errors
from driveforge.validation.point_tracking.tracks import TrackWindow
from driveforge.validation.records import (
    STATIONARY_EGO,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    median_measure,
)
from driveforge.validation.views.view import CommandedCamera


def pose_measures(tracked: TrackedView) -> list[Measure]:
    """Yaw-rate bias (deg/s), RMS rotation error (deg over ``GAP`` frames), median direction error (deg)."""
    refined, up, timestamps = tracked.refined_motions, tracked.command.up, tracked.view.timestamps
    if not refined:
        names = ("pose_yaw", "pose_rotation", "pose_translation")
        return [make_unmeasurable(name, tracked.not_refined_reason) for name in names]
    yaw_errors = [_rate(yaw_about(up[r.pair.last], r.correction), r.pair, timestamps) for r in refined]
    angles = [float(np.degrees(np.linalg.norm(r.correction))) for r in refined]
    direction_errors = [
        Sample(value=float(np.degrees(r.deviation)), frames=r.pair.frames) for r in refined if r.deviation is not None
    ]
    worst_yaw, worst_angle = refined[int(np.argmax(np.abs(yaw_errors)))], refined[int(np.argmax(angles))]
    return [
        # The mean of signed errors: tracking noise cancels, a constant drift of the command does not.
        make_measure("pose_yaw", abs(float(np.mean(yaw_errors))), worst_yaw.pair.frames),
        make_measure("pose_rotation", float(np.sqrt(np.mean(np.square(angles)))), worst_angle.pair.frames),
        median_measure("pose_translation", direction_errors, STATIONARY_EGO),
    ]


def rigidity_measure(tracked: TrackedView) -> Measure:
    """Median over windows of the worst region's median Sampson distance to the *observed* motion, reference px.

    It is large for image motion that no rigid camera motion explains: warps, wobble, a swimming background. A region
    counts as far as its tracks also fit no fixed 3-D points under the command: tracks of a few objects can drag the
    observed motion away, and then all regions are far from it.
    """
    refined = tracked.refined_motions
    windows = {window.start: window for window in tracked.tracks.background}
    samples = [
        Sample(value=worst, frames=r.pair.frames)
        for r in refined
        if r.direction is not None
        and (worst := _worst_region(r, r.direction, windows[r.pair.first], tracked.command)) is not None
    ]
    is_moving = not refined or any(r.direction is not None for r in refined)
    return median_measure("track_rigidity", samples, tracked.not_refined_reason if is_moving else STATIONARY_EGO)


def observed_yaw_rate(tracked: TrackedView) -> float | None:
    """Mean yaw rate of the ego that the tracks show, deg/s, positive to the left; None if there are too few tracks."""
    refined, up, timestamps = tracked.refined_motions, tracked.command.up, tracked.view.timestamps
    if not refined:
        return None
    yaws = [yaw_about(up[r.pair.last], cv2.Rodrigues(r.rotation)[0][:, 0]) for r in refined]
    return float(np.mean([_rate(yaw, r.pair, timestamps) for yaw, r in zip(yaws, refined, strict=True)]))


def _rate(yaw: float, pair: FramePair, timestamps: Array) -> float:
    return float(np.degrees(yaw) / (timestamps[pair.last] - timestamps[pair.first]))


def _worst_region(
    refined: RefinedMotion, direction: Array, window: TrackWindow, command: CommandedCamera
) -> float | None:
    """The largest absolute median of the signed distances in a region, reference px.

    Signed distances keep noise from adding up. None if fewer than two regions hold tracks.
    """
    pair = refined.pair
    signed = sampson_distance(essential_matrix(refined.rotation, direction), pair.a, pair.b) / command.pixel
    distances = {
        region: abs(median) for region, median in region_medians(pair.image, signed, command.image_size).items()
    }
    errors = reprojection_errors(window, pair.last - pair.first + 1, command)
    return worst_agreed(distances, region_medians(pair.image, errors, command.image_size))
