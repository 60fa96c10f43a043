"""Measure the covariates of a clip from its command, its pixels and its tracks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.validation.covariates import ClipCovariates
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.views.view import View


def measure_covariates(view: View, tracks: Tracks) -> ClipCovariates:
    """The covariates of a clip, from its reference view and the tracks in it."""
    speed, rotation_rate = _motion(view)
    rows, columns = view.gray.shape[1:]
    return ClipCovariates(
        rig=f"{view.camera} {columns}x{rows}{_field_of_view(view)}",
        frame_rate=round(float(1 / np.median(np.diff(view.timestamps))), 2) if view.num_frames > 1 else 0.0,
        speed=speed,
        rotation_rate=rotation_rate,
        flow=_flow(tracks) * view.scale,
        noise=float(np.median([noise_level(frame) for frame in view.gray])),
        brightness=float(np.median(view.gray)),
        contrast=float(view.gray.std()),
    )


def noise_level(gray: NDArray[np.uint8]) -> float:
    """Standard deviation of the noise in an image, gray levels; fine texture counts as noise.

    Immerkaer, "Fast noise variance estimation" (CVIU 1996): the mean absolute difference of two Laplacians, which
    removes linear and quadratic image structure.
    """
    if min(gray.shape) < 3:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(gray, cv2.CV_32F, kernel)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(response).mean())


def _motion(view: View) -> tuple[float, float]:
    """Median commanded speed m/s and rotation rate deg/s of the camera; zeros without a command."""
    if view.command is None or view.num_frames < 2:
        return 0.0, 0.0
    poses, times = view.command.camera_to_world, view.timestamps
    speeds = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / np.diff(times)
    # Over half a second, so that a jittering command does not count as turning.
    gap = int(np.clip(round(0.5 / np.median(np.diff(times))), 1, view.num_frames - 1))
    relative = poses[:-gap, :3, :3].transpose(0, 2, 1) @ poses[gap:, :3, :3]
    cosines = (np.trace(relative, axis1=1, axis2=2) - 1) / 2
    rates = np.degrees(np.arccos(cosines.clip(-1, 1))) / (times[gap:] - times[:-gap])
    return float(np.median(speeds)), float(np.median(rates))


def _flow(tracks: Tracks) -> float:
    """Median length px of all steps of background tracks; 0 if there are no tracks."""
    steps = [
        np.linalg.norm(window.points[k] - window.points[k - 1], axis=1)[window.alive[k]] for k, window in tracks.steps()
    ]
    lengths = np.concatenate(steps) if steps else np.zeros(0)
    return float(np.median(lengths)) if len(lengths) else 0.0


def _field_of_view(view: View) -> str:
    if view.command is None:
        return ""
    width, focal = view.gray.shape[2], float(view.command.intrinsics[0, 0])
    return f" {np.degrees(2 * np.arctan(width / (2 * focal))):.0f} deg"
