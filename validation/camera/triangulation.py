"""Background tracks against the commanded poses of all their frames: reprojection errors of triangulated points."""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pairs import MIN_BASELINE_M, MIN_TRACKS, too_few_tracks_reason
from driveforge.validation.camera.regions import region_medians
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.point_tracking.tracks import TrackWindow
from driveforge.validation.records import STATIONARY_EGO, Measure, Sample, median_measure
from driveforge.validation.views.view import CommandedCamera

MIN_FRAMES = 5
OUTLIER_PX = 2.0


def triangulate(rays: Array, centers: Array) -> Array:
    """The points ``(N, 3)`` closest to their rays in the least-squares sense.

    ``rays`` ``(L, N, 3)`` are world directions from ``centers`` ``(L, 3)`` m. Minimizes the squared distances to the
    rays: the sum of (I - dd') (X - c) is zero (Hartley and Sturm, "Triangulation", 1997, the mid-point method).
    """
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    across = np.eye(3) - unit[..., :, None] * unit[..., None, :]  # I - dd' projects onto the plane across a ray
    normal = across.sum(0) + 1e-9 * np.eye(3)  # stays invertible for parallel rays
    return np.asarray(np.linalg.solve(normal, np.einsum("lnij,lj->ni", across, centers)[..., None])[..., 0])


def reprojection_errors(window: TrackWindow, frames: int, command: CommandedCamera) -> Array:
    """RMS reprojection error ``(N,)``, reference px, of tracks that are alive for the first ``frames`` of a window."""
    points = command.directions(window.points[:frames, window.alive[frames - 1]])
    poses = command.camera_to_world[window.start : window.start + frames]
    centers = poses[:, :3, 3] - poses[0, :3, 3]
    fixed = triangulate(points @ np.swapaxes(poses[:, :3, :3], -1, -2), centers)
    seen = (fixed[None] - centers[:, None]) @ poses[:, :3, :3]
    depth = np.where(np.abs(seen[..., 2:]) < 1e-3, 1e-3, seen[..., 2:])
    squared = ((seen[..., :2] / depth - points[..., :2]) ** 2).sum(-1)
    return np.asarray(np.sqrt(squared.mean(0)) / command.pixel)


def reprojection_measures(tracked: TrackedView) -> list[Measure]:
    """The median error, the share of tracks above ``OUTLIER_PX``, and the median error of the worst image region.

    Each is computed per window; the measure is the median over windows.
    """
    tracks, command = tracked.tracks, tracked.command
    medians, shares, regions, max_tracks, is_moving = [], [], [], 0, False
    for window in tracks.background:
        if window.length < MIN_FRAMES:
            continue
        last = window.start + window.length - 1
        if command.motion(window.start, last).baseline < MIN_BASELINE_M:
            continue
        count, is_moving = int(window.alive[-1].sum()), True
        max_tracks = max(max_tracks, count)
        if count >= MIN_TRACKS:
            errors = reprojection_errors(window, window.length, command)
            medians.append(Sample(value=float(np.median(errors)), frames=(window.start, last)))
            shares.append(Sample(value=float((errors > OUTLIER_PX).mean()), frames=(window.start, last)))
            if by_region := region_medians(window.points[0, window.alive[-1]], errors, command.image_size):
                regions.append(Sample(value=max(by_region), frames=(window.start, last)))
    reason = too_few_tracks_reason(max_tracks) if is_moving else STATIONARY_EGO
    return [
        median_measure("track_reprojection", medians, reason),
        median_measure("track_reprojection_outliers", shares, reason),
        median_measure("track_reprojection_region", regions, reason),
    ]
