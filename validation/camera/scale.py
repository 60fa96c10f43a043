"""Metric scale: the distance that the camera covers, measured on the road and on parked boxes.

Epipolar geometry does not determine the length of a translation. Known distances do: the height of the camera above the
road, and the commanded place of a parked box. Both measures search the factor s on the commanded translation that
agrees with the pixels, with the rotation from the tracks, and report abs(log s): 0 is the commanded speed, 0.14
is 15 % too fast or too slow. On the road it is the part of the error beyond the uncertainty of the measurement.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.conditioning.layout import NEAR_M
from driveforge.datasets.geometry import Array, box_corners, inverse, transform
from driveforge.datasets.scene import Track
from driveforge.validation.camera.pairs import too_few_tracks_reason
from driveforge.validation.camera.pose_refinement import RefinedMotion, rotation_matrix
from driveforge.validation.camera.road import (
    MIN_BASELINE_M,
    Road,
    RoadSlopes,
    ground_axes,
    heading_direction,
    road_normals,
    road_pairs,
)
from driveforge.validation.camera.road_likelihood import SWEPT_LOG_SCALES, least_log_scale, sweep_road
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.measure_tables.pose import (
    CAMERA_NOT_ALONG_ROAD,
    NO_CAMERA_HEIGHT,
    NO_PARKED_BOXES,
    ROAD_HIDDEN,
)
from driveforge.validation.point_tracking.box_motion import ray_box
from driveforge.validation.point_tracking.tracks import TrackWindow
from driveforge.validation.records import (
    NO_BOXES,
    NO_ROAD_MATCH,
    NO_ROAD_TEXTURE,
    SMALL_BOXES,
    STATIONARY_EGO,
    Measure,
    make_measure,
    make_unmeasurable,
)
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import CameraMotion, CommandedCamera

MIN_CELLS, MIN_PAIRS = 120, 3
MIN_HEIGHT_M = 0.3  # lower than this, the ego frame is that of the camera and not on the ground
MIN_ALONG = 0.8  # cosine between viewing direction and path
MIN_CONTRAST = 0.5  # gray levels
MIN_MATCH = 0.1  # correlation at the best scale

PARKED_M = 0.15  # annotation noise of a parked box
MIN_PARALLAX_PX = 3.0  # reference px
MIN_POINTS = 12
MIN_SCALE = 0.05  # of the command: smaller and negative scales count as this one


def corrected_motion(refined: Sequence[RefinedMotion], command: CommandedCamera, a: int, b: int) -> CameraMotion:
    """The commanded motion from frame ``a`` to ``b``, with its rotation corrected by the nearest refined pair.

    The correction is scaled to the number of frames from ``a`` to ``b``.
    """
    commanded = command.motion(a, b)
    nearest = min(refined, key=lambda r: abs(r.pair.first - min(a, b)))
    share = (b - a) / (nearest.pair.last - nearest.pair.first)
    rotation = rotation_matrix(share * nearest.correction) @ commanded.rotation
    return CameraMotion(rotation=rotation, translation=commanded.translation)


def road_scale_measure(tracked: TrackedView) -> Measure:
    """``pose_scale_road``: the least abs(log s) in the confidence region of the translation that aligns the road.

    Plane sweep (Collins, "A space-sweep approach to true multi-image matching", CVPR 1996): on the plane n'X = -h,
    X_b = (R - s t n' / h) X_a. For every s the *longitudinal* derivatives of the patches are correlated, since lane
    lines match at any s. The pitch of the road is unknown (``road_likelihood``), so that a road that bends, or a mount
    that is a degree off, counts as uncertainty of the speed and not as an error.
    """
    command, refined = tracked.command, tracked.refined_motions
    pairs = road_pairs(command)
    reason = _no_road_reason(command, pairs) if refined else tracked.not_refined_reason
    if reason:
        return make_unmeasurable("pose_scale_road", reason)
    seen = [slopes for slopes in _road_slopes(tracked, pairs) if slopes.seen.sum() >= MIN_CELLS]
    if len(seen) < MIN_PAIRS:
        return make_unmeasurable("pose_scale_road", ROAD_HIDDEN)
    textured = [slopes for slopes in seen if slopes.near[slopes.seen].std() >= MIN_CONTRAST]
    if len(textured) < MIN_PAIRS:
        return make_unmeasurable("pose_scale_road", NO_ROAD_TEXTURE)
    sweeps = [sweep_road(slopes.near, slopes.far, slopes.seen, slopes.reach) for slopes in textured]
    if np.mean([sweep.correlations(np.zeros(1)) for sweep in sweeps], 0).max() < MIN_MATCH:
        return make_unmeasurable("pose_scale_road", NO_ROAD_MATCH)
    frames = [frame for pair in pairs for frame in pair]
    return make_measure("pose_scale_road", least_log_scale(sweeps), (min(frames), max(frames)))


def _road_slopes(tracked: TrackedView, pairs: Sequence[tuple[int, int]]) -> Iterator[RoadSlopes]:
    """The slopes of the road patch of every pair, on the plane on which the commanded path is level."""
    road, command = Road(view=tracked.view, boxes=tracked.boxes), tracked.command
    for normal, (near, far) in zip(road_normals(command, pairs), pairs, strict=True):
        motion = corrected_motion(tracked.refined_motions, command, near, far)
        yield road.slopes(normal, command, motion, near, far, np.exp(SWEPT_LOG_SCALES))


def _no_road_reason(command: CommandedCamera, pairs: Sequence[tuple[int, int]]) -> str:
    """The reason why the command does not allow a sweep of the road; empty if it does."""
    if len(pairs) < MIN_PAIRS:
        return STATIONARY_EGO
    if command.height.min() < MIN_HEIGHT_M:
        return NO_CAMERA_HEIGHT
    along = [heading_direction(command, *pair) @ ground_axes(command.up[pair[0]])[0] for pair in pairs]
    return CAMERA_NOT_ALONG_ROAD if np.median(np.abs(along)) < MIN_ALONG else ""


def parked_scale_measure(tracked: TrackedView) -> Measure:
    """``pose_scale_boxes``: abs(log s) of the translation that agrees with the tracks of points on parked boxes.

    A point X_a on the box is observed later along u (z = 1), so u x (R X_a + s t) = 0, which is solved for s by least
    squares for each point; s is the median over all points, weighted by the commanded parallax.
    """
    if not tracked.refined_motions:
        return make_unmeasurable("pose_scale_boxes", tracked.not_refined_reason)
    boxes = tracked.boxes
    if boxes is None or not boxes.judged.any():
        return make_unmeasurable("pose_scale_boxes", NO_BOXES)
    parked = _parked_box_indices(tracked.view.tracks, boxes)
    if not parked:
        return make_unmeasurable("pose_scale_boxes", NO_PARKED_BOXES)
    found = [
        _parked_box_scales(tracked, window, box_index)
        for window in tracked.tracks.objects
        for box_index in parked
        if boxes.judged[window.start : window.start + 2, box_index].all()
    ]
    if not found:
        return make_unmeasurable("pose_scale_boxes", SMALL_BOXES)
    estimates = [estimate for estimate in found if estimate]
    if not estimates:
        return make_unmeasurable("pose_scale_boxes", STATIONARY_EGO)
    if max(estimate.expected for estimate in estimates) < MIN_PARALLAX_PX:
        return make_unmeasurable("pose_scale_boxes", SMALL_BOXES)
    scales = np.concatenate([estimate.scales for estimate in estimates])
    parallax = np.concatenate([estimate.parallax for estimate in estimates])
    if len(scales) < MIN_POINTS:
        return make_unmeasurable("pose_scale_boxes", f"{too_few_tracks_reason(len(scales))} on parked boxes")
    scale = _weighted_median(scales, parallax)
    most = max(estimates, key=lambda estimate: float(estimate.parallax.sum()))
    return make_measure("pose_scale_boxes", abs(math.log(max(scale, MIN_SCALE))), most.frames, most.track)


def _parked_box_indices(tracks: Sequence[Track], boxes: Boxes) -> list[int]:
    return [i for i, track in enumerate(tracks) if boxes.judged[:, i].any() and is_parked(track)]


def is_parked(track: Track) -> bool:
    """Whether the box is static, within annotation noise, in all frames in which it is present."""
    places = track.box_to_world[track.present, :3, 3]
    return bool(len(places) > 1 and np.linalg.norm(places - np.median(places, 0), axis=1).max() <= PARKED_M)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ParkedBoxScales:
    """The ``scales`` ``(N,)`` of the tracks of one window on one box that have enough parallax.

    ``parallax`` ``(N,)`` reference px is the image motion of each point due to the commanded translation only, and
    ``expected`` the largest one of a corner of the box.
    """

    track: str
    frames: tuple[int, int]
    scales: Array
    parallax: Array
    expected: float


def _parked_box_scales(tracked: TrackedView, window: TrackWindow, box_index: int) -> _ParkedBoxScales | None:
    """None if the camera is commanded to be stationary."""
    track, command = tracked.view.tracks[box_index], tracked.command
    first, last = window.start, window.start + window.length - 1
    motion = corrected_motion(tracked.refined_motions, command, first, last)
    if motion.baseline < MIN_BASELINE_M:
        return None
    points = np.flatnonzero(window.box_index == box_index)
    camera_to_box = inverse(track.box_to_world[first]) @ command.camera_to_world[first]
    box_to_camera = inverse(camera_to_box)
    directions = command.directions(window.points[0, points])
    on_box, hit = ray_box(camera_to_box[:3, 3], directions @ camera_to_box[:3, :3].T, track.size)
    followed = hit & window.alive[-1, points]
    # Y = R X_a, the tracked points in the later camera before the translation.
    turned = transform(box_to_camera, on_box[followed]) @ motion.rotation.T
    seen = command.directions(window.points[-1, points[followed]])
    scales, parallax = solve_point_scales(turned, motion.translation, seen)
    strong = parallax >= MIN_PARALLAX_PX * command.pixel
    # The parallax that the command gives the corners: they are observed exactly where the command moves them.
    corners = box_corners(box_to_camera, track.size) @ motion.rotation.T
    moved = corners + motion.translation
    _, expected = solve_point_scales(corners, motion.translation, moved / np.maximum(moved[:, 2:], NEAR_M))
    return _ParkedBoxScales(
        track=track.id,
        frames=(first, last),
        scales=scales[strong],
        parallax=parallax[strong] / command.pixel,
        expected=float(expected.max()) / command.pixel,
    )


def solve_point_scales(turned: Array, translation: Array, seen: Array) -> tuple[Array, Array]:
    """The scale s ``(N,)`` for which Y + s t is along ``seen`` ``(N, 3)`` (z = 1), and the parallax ``(N,)`` of t.

    ``turned`` ``(N, 3)`` m are the points Y = R X_a. Least squares of u (Y_z + s t_z) = Y_xy + s t_xy, that is of
    s (t_xy - u t_z) = u Y_z - Y_xy. The parallax is the motion by t on the plane z = 1.
    """
    along = translation[:2] - seen[:, :2] * translation[2]
    offset = seen[:, :2] * turned[:, 2:] - turned[:, :2]
    squared = np.maximum((along**2).sum(1), 1e-12)
    return (along * offset).sum(1) / squared, np.sqrt(squared) / np.maximum(turned[:, 2], 1e-6)


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
