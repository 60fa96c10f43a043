"""Background tracks against the commanded poses of all their frames: reprojection errors of triangulated points."""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.epipolar import essential_matrix, sampson_distance
from driveforge.validation.camera.pairs import MIN_BASELINE_M, MIN_TRACKS, make_pair, too_few_tracks_reason
from driveforge.validation.camera.regions import region_medians, worst_agreed
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


def epipolar_by_region(window: TrackWindow, command: CommandedCamera) -> dict[int, float]:
    """RMS over frames of the median signed Sampson distance to the command in each region, reference px.

    Over the tracks that are alive for the whole window, from its first frame to every third one from the end that is
    far enough away.
    """
    alive, medians = window.alive[-1], []
    for k in range(window.length - 1, 0, -3):
        pair = make_pair(window, 0, k, command, alive)
        if pair.motion.baseline >= MIN_BASELINE_M:
            essential = essential_matrix(pair.motion.rotation, pair.motion.translation)
            signed = sampson_distance(essential, pair.a, pair.b) / command.pixel
            medians.append(region_medians(pair.image, signed, command.image_size))
    regions = medians[0] if medians else {}
    return {region: float(np.sqrt(np.mean([frame[region] ** 2 for frame in medians]))) for region in regions}


def reprojection_measures(tracked: TrackedView) -> list[Measure]:
    """The median error, the share of tracks above ``OUTLIER_PX``, and the median error of the worst image region.

    Each is computed per window; the measure is the median over windows. The worst region counts as far as its tracks
    also leave their commanded epipolar lines, since a point that hops along its line only changes its depth.
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
            errors, frames = reprojection_errors(window, window.length, command), (window.start, last)
            medians.append(Sample(value=float(np.median(errors)), frames=frames))
            shares.append(Sample(value=float((errors > OUTLIER_PX).mean()), frames=frames))
            by_region = region_medians(window.points[0, window.alive[-1]], errors, command.image_size)
            worst = worst_agreed(by_region, epipolar_by_region(window, command))
            if worst is not None:
                regions.append(Sample(value=worst, frames=frames))
    reason = too_few_tracks_reason(max_tracks) if is_moving else STATIONARY_EGO
    return [
        median_measure("track_reprojection", medians, reason),
        median_measure("track_reprojection_outliers", shares, reason),
        median_measure("track_reprojection_region", regions, reason),
    ]
