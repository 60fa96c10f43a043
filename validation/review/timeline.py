"""A clip frame by frame: deviation from the command, change between frames, lost points, boxes without an object.

A measure is one number per clip; the timeline shows at which frames a clip is bad.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.epipolar import track_residuals
from driveforge.validation.camera.pairs import MIN_BASELINE_M, FramePair, derotated_flow, make_pair
from driveforge.validation.camera.pose_refinement import GAP, MIN_TRACKS, RefinedMotion, refine_motion, yaw_about
from driveforge.validation.objects.observations import observe_objects
from driveforge.validation.point_tracking.tracks import Tracks, TrackWindow
from driveforge.validation.temporal import MIN_STEP_TRACKS, frame_changes
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import CommandedCamera, View


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trails:
    """The last frames of the point tracks that reach one frame.

    ``points`` ``(L, N, 2)`` px, the oldest first; ``residual`` ``(N,)`` reference px is the deviation of each from the
    commanded motion over these frames, NaN without a command; ``lost`` ``(M, 2)`` px are the last positions of points
    that could not be tracked into this frame.
    """

    points: Array
    residual: Array
    lost: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Timeline:
    """Values for each of ``T`` frames; NaN if there is none.

    ``residual`` ``(T, 3)``: quartiles over the background tracks of their deviation from the commanded motion over the
    last ``GAP`` frames, reference px. For the step to a frame: ``change`` ``(T,)`` of the image over the median change
    of the clip, and ``lost`` ``(T,)``, the share of points that could not be tracked. ``speed`` ``(T,)`` m/s and
    ``yaw_commanded`` ``(T,)`` deg/s (left is positive) are commanded, ``yaw_observed`` ``(T,)`` deg/s is from the
    tracks, both over the last ``GAP`` frames; ``heading_error`` ``(T,)`` deg is the angle between the observed and the
    commanded direction; ``refined`` is the observed motion. ``unsupported``: by object id, the share ``(T,)`` of the
    points on its box that do not move with it.
    """

    residual: Array
    change: Array
    lost: Array
    speed: Array
    yaw_commanded: Array
    yaw_observed: Array
    heading_error: Array
    refined: tuple[RefinedMotion | None, ...]
    unsupported: Mapping[str, Array]

    @property
    def num_frames(self) -> int:
        return len(self.change)


def build_timeline(view: View, boxes: Boxes | None, tracks: Tracks) -> Timeline:
    """The timeline of one camera, from the tracks that are measured."""
    refined = tuple(_refined(view.command, tracks, t) for t in range(view.num_frames))
    return Timeline(
        residual=np.stack([_quartiles(trails_at(tracks, view.command, t).residual) for t in range(view.num_frames)]),
        change=_changes(view),
        lost=_losses(tracks, view.num_frames),
        speed=_speeds(view),
        yaw_commanded=_yaw_commanded(view),
        yaw_observed=_yaw_seen(view, refined),
        heading_error=np.array(
            [np.nan if r is None or r.deviation is None else np.degrees(r.deviation) for r in refined]
        ),
        refined=refined,
        unsupported=_unsupported(view, boxes, tracks),
    )


def trails_at(tracks: Tracks, command: CommandedCamera | None, frame: int) -> Trails:
    """The background points of one frame with their last ``GAP`` frames; empty in the first frame."""
    found = _window_at(tracks, frame)
    if found is None:
        return Trails(points=np.zeros((1, 0, 2)), residual=np.zeros(0), lost=np.zeros((0, 2)))
    window, k = found
    start, alive = max(0, k - GAP), window.alive[k]
    residual = np.full(int(alive.sum()), np.nan)
    if command is not None:
        residual = command_residuals(make_pair(window, start, k, command), command)
    return Trails(
        points=window.points[start : k + 1, alive].astype(np.float64),
        residual=residual,
        lost=window.points[k, window.lost[k]].astype(np.float64),
    )


def object_trails_at(view: View, tracks: Tracks, frame: int) -> Trails:
    """The points on boxes in one frame, as ``trails_at``; their residual is to the motion of their box."""
    found = [(w, frame - w.start) for w in tracks.objects if 0 < frame - w.start < w.length]
    if not found:
        return Trails(points=np.zeros((1, 0, 2)), residual=np.zeros(0), lost=np.zeros((0, 2)))
    window, k = max(found, key=lambda candidate: candidate[1])
    points, residuals = [], []
    for box_index in np.unique(window.box_index):
        on_box, predicted = window.on_box(int(box_index))
        seen = window.alive[k, on_box]
        points.append(window.points[: k + 1, on_box[seen]])
        residuals.append(np.linalg.norm(window.points[k, on_box[seen]] - predicted[k, seen], axis=1) * view.scale)
    return Trails(
        points=np.concatenate(points, 1).astype(np.float64),
        residual=np.concatenate(residuals),
        lost=window.points[k, window.lost[k]].astype(np.float64),
    )


def command_residuals(pair: FramePair, command: CommandedCamera) -> Array:
    """Distance ``(N,)``, reference px, to the epipolar line; without a baseline, to the position after rotation."""
    if pair.motion.baseline >= MIN_BASELINE_M:
        return track_residuals(pair, command.pixel)
    return np.asarray(np.linalg.norm(derotated_flow(pair), axis=1) / command.pixel)


def _window_at(tracks: Tracks, frame: int) -> tuple[TrackWindow, int] | None:
    """The window that covers most of the last ``GAP`` frames, and the frame's index in it."""
    candidates = [(w, frame - w.start) for w in tracks.background if 0 < frame - w.start < w.length]
    return max(candidates, key=lambda found: (min(found[1], GAP), found[0].start), default=None)


def _quartiles(residual: Array) -> Array:
    known = residual[np.isfinite(residual)]
    if len(known) < MIN_STEP_TRACKS:
        return np.full(3, np.nan)
    return np.asarray(np.quantile(known, (0.25, 0.5, 0.75)))


def _changes(view: View) -> Array:
    change = frame_changes(view.gray)
    median = float(np.median(change)) if len(change) else 0.0
    return np.asarray(np.r_[np.nan, change / median if median > 0 else np.ones(len(change))])


def _losses(tracks: Tracks, num_frames: int) -> Array:
    lost = np.full(num_frames, np.nan)
    for k, window in tracks.steps():
        num_lost, num_kept = int(window.lost[k].sum()), int(window.alive[k].sum())
        if num_lost + num_kept >= MIN_STEP_TRACKS:
            lost[window.start + k] = num_lost / (num_lost + num_kept)
    return lost


def _speeds(view: View) -> Array:
    speeds = np.full(view.num_frames, np.nan)
    if view.command is not None:
        places = view.command.camera_to_world[:, :3, 3]
        speeds[1:] = np.linalg.norm(np.diff(places, axis=0), axis=1) / np.diff(view.timestamps)
    return speeds


def _refined(command: CommandedCamera | None, tracks: Tracks, frame: int) -> RefinedMotion | None:
    found = _window_at(tracks, frame)
    if command is None or found is None:
        return None
    window, k = found
    pair = make_pair(window, max(0, k - GAP), k, command)
    return refine_motion(pair, command.up[frame], command.pixel) if len(pair) >= MIN_TRACKS else None


def _yaw_commanded(view: View) -> Array:
    rates = np.full(view.num_frames, np.nan)
    if view.command is not None:
        for t in range(1, view.num_frames):
            start = max(0, t - GAP)
            rates[t] = _yaw_rate(view, view.command.motion(start, t).rotation, start, t)
    return rates


def _yaw_seen(view: View, refined: Iterable[RefinedMotion | None]) -> Array:
    rates = [np.nan if r is None else _yaw_rate(view, r.rotation, *r.pair.frames) for r in refined]
    return np.array(rates)


def _yaw_rate(view: View, rotation: Array, first: int, last: int) -> float:
    assert view.command is not None, "there is no yaw rate without a command"
    turn = yaw_about(view.command.up[last], cv2.Rodrigues(rotation)[0][:, 0])
    return float(np.degrees(turn) / (view.timestamps[last] - view.timestamps[first]))


def _unsupported(view: View, boxes: Boxes | None, tracks: Tracks) -> dict[str, Array]:
    """Two consecutive observations must agree, as for the measure; the value applies to their overlap."""
    shares: dict[str, Array] = {}
    for box_index, seen in observe_objects(view, boxes, tracks).items() if boxes else ():
        share = np.full(view.num_frames, np.nan)
        for a, b in pairwise(seen):
            value = 1.0 - max(a.support, b.support)
            both = slice(b.first, max(a.last, b.first) + 1)
            share[both] = np.fmax(share[both], value)
        if np.isfinite(share).any():
            shares[view.tracks[box_index].id] = share
    return shares
