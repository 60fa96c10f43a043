"""The camera motion that the background tracks show, found by refining the commanded one, and how far it is from it.

Five unknowns, a rotation w and two tangent coordinates of the translation's direction, minimize the sum of rho(d) over
the Sampson distances d (reference px). Gauss-Newton by iteratively reweighted least squares; rho is the Geman-McClure
kernel d² / (s² + d²), whose width s shrinks step by step (graduated non-convexity: Black and Rangarajan, IJCV 1996), so
that movers lose their say without the search getting caught. It starts from the best of many yaw angles about the
command, so that a grossly wrong turn is found too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.epipolar import essential_matrix, sampson_distance
from driveforge.validation.camera.pairs import MIN_BASELINE_M, FramePair, pairs_with_gap, too_few_tracks_reason
from driveforge.validation.camera.regions import region_medians
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.records import (
    STATIONARY_EGO,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    median_measure,
)
from driveforge.validation.views.view import CameraMotion, CommandedCamera

GAP = 4  # frames
MIN_TRACKS = 20
KERNEL_WIDTHS = (6.0, 3.0, 1.5, 1.0, 1.0)  # reference px
STEPS_PER_WIDTH = 3
MAX_STEP_RAD = 0.05
START_YAWS = np.radians(np.arange(-24.0, 25.0))
# A start away from the command must explain this much more of the tracks, or the command is kept.
START_MARGIN = 0.02
# Weak prior, rad: keeps what the tracks do not determine near the start.
PRIOR_ROTATION, PRIOR_DIRECTION = np.radians(5.0), 0.3

Residuals = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RefinedMotion:
    """The motion that the tracks of ``pair`` show.

    ``correction`` ``(3,)`` rad is the rotation vector that turns the commanded rotation into the ``rotation`` seen;
    ``direction`` ``(3,)`` is the unit translation seen and ``deviation`` rad its angle to the commanded one, both None
    where the camera was told to stand.
    """

    pair: FramePair
    rotation: Array
    correction: Array
    direction: Array | None
    deviation: float | None


def refine_motion(pair: FramePair, up: Array, pixel: float) -> RefinedMotion:
    """Refine the motion commanded over ``pair``; ``up`` ``(3,)`` is the yaw axis in camera coordinates."""
    is_moving = pair.motion.baseline >= MIN_BASELINE_M
    start = _best_start(pair, up, pixel)
    motion = CameraMotion(rotation=start @ pair.motion.rotation, translation=pair.motion.translation)
    if not is_moving:
        turn = _minimize(lambda p: _rotation_residuals(pair, motion, p) / pixel, np.full(3, PRIOR_ROTATION))
        return _make_refined(pair, rotation_matrix(turn) @ motion.rotation, None)
    tangents = _tangents(motion.translation)
    prior = np.array([PRIOR_ROTATION] * 3 + [PRIOR_DIRECTION] * 2)
    p = _minimize(lambda p: _epipolar_residuals(pair, motion, tangents, p) / pixel, prior)
    return _make_refined(
        pair, rotation_matrix(p[:3]) @ motion.rotation, _tilt_direction(motion.translation, tangents, p[3:])
    )


def refine_motions(tracks: Tracks, command: CommandedCamera) -> list[RefinedMotion]:
    """The motion seen over ``GAP`` frames from the beginning of each window, where enough tracks live."""
    pairs = [pair for pair in pairs_with_gap(tracks, command, GAP) if len(pair) >= MIN_TRACKS]
    return [refine_motion(pair, command.up[pair.last], command.pixel) for pair in pairs]


def not_refined_reason(tracks: Tracks, command: CommandedCamera) -> str:
    """Why ``refine_motions`` found nothing."""
    return too_few_tracks_reason(max((len(pair) for pair in pairs_with_gap(tracks, command, GAP)), default=0))


def pose_measures(
    refined: list[RefinedMotion], command: CommandedCamera, timestamps: Array, reason: str
) -> list[Measure]:
    """Yaw-rate bias (deg/s), rotation (deg over ``GAP`` frames, RMS) and median deviation of the translation (deg)."""
    if not refined:
        return [make_unmeasurable(name, reason) for name in ("pose_yaw", "pose_rotation", "pose_translation")]
    yaw = [_rate(yaw_about(command.up[r.pair.last], r.correction), r.pair, timestamps) for r in refined]
    angles = [float(np.degrees(np.linalg.norm(r.correction))) for r in refined]
    direction_errors = [
        Sample(value=float(np.degrees(r.deviation)), frames=r.pair.frames) for r in refined if r.deviation is not None
    ]
    return [
        make_measure("pose_yaw", abs(float(np.mean(yaw))), refined[int(np.argmax(np.abs(yaw)))].pair.frames),
        make_measure(
            "pose_rotation", float(np.sqrt(np.mean(np.square(angles)))), refined[int(np.argmax(angles))].pair.frames
        ),
        median_measure("pose_translation", direction_errors, STATIONARY_EGO),
    ]


def rigidity_measure(refined: list[RefinedMotion], command: CommandedCamera, reason: str) -> Measure:
    """Median over windows of the worst region's median Sampson distance to the motion *seen*, reference px.

    What no camera motion explains, whether commanded or not: warps, wobble, parts of the background that swim.
    """
    samples = [
        Sample(value=worst_region, frames=r.pair.frames)
        for r in refined
        if r.direction is not None and (worst_region := _worst_region(r, r.direction, command)) is not None
    ]
    is_moving = not refined or any(r.direction is not None for r in refined)
    return median_measure("track_rigidity", samples, reason if is_moving else STATIONARY_EGO)


def observed_yaw_rate(refined: list[RefinedMotion], command: CommandedCamera, timestamps: Array) -> float | None:
    """Mean yaw rate of the ego that the tracks show, deg/s, positive to the left; None where there is none."""
    if not refined:
        return None
    yaws = [yaw_about(command.up[r.pair.last], cv2.Rodrigues(r.rotation)[0][:, 0]) for r in refined]
    return float(np.mean([_rate(yaw, r.pair, timestamps) for yaw, r in zip(yaws, refined, strict=True)]))


def rotation_matrix(vector: Array) -> Array:
    """``(3, 3)`` rotation of a rotation vector in rad (Rodrigues)."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64).reshape(3, 1))[0])


def yaw_about(up: Array, vector: Array) -> float:
    """Turn of the ego about its z axis, rad, for a rotation vector that takes points of one camera to a later one."""
    return float(-(up @ vector))


def _rate(yaw: float, pair: FramePair, timestamps: Array) -> float:
    return float(np.degrees(yaw) / (timestamps[pair.last] - timestamps[pair.first]))


def _best_start(pair: FramePair, up: Array, pixel: float) -> Array:
    """The rotation about ``up`` after which most tracks agree with the commanded motion; the identity where it ties."""
    turns = np.stack([np.eye(3), *(rotation_matrix(-yaw * up) for yaw in START_YAWS)])
    rotations = turns @ pair.motion.rotation
    if pair.motion.baseline >= MIN_BASELINE_M:
        residuals = sampson_distance(essential_matrix(rotations, pair.motion.translation), pair.a, pair.b)
    else:
        turned = pair.a @ np.swapaxes(rotations, -1, -2)
        residuals = np.linalg.norm(pair.b[:, :2] - turned[..., :2] / np.maximum(turned[..., 2:], 1e-6), axis=-1)
    squared = (residuals / pixel) ** 2
    cost = (squared / (KERNEL_WIDTHS[0] ** 2 + squared)).mean(-1)
    best = int(np.argmin(cost))
    return np.asarray(turns[best] if cost[best] < cost[0] - START_MARGIN else turns[0])


def _minimize(residuals: Residuals, prior: Array) -> Array:
    """Annealed Gauss-Newton from zero; ``prior`` holds the standard deviation of each unknown."""
    p, information = np.zeros(len(prior)), np.diag(prior**-2.0)
    for width in KERNEL_WIDTHS:
        for _ in range(STEPS_PER_WIDTH):
            r = residuals(p)
            weight = (1.0 + (r / width) ** 2) ** -2.0
            jacobian = _jacobian(residuals, p, r)
            normal = (jacobian * weight[:, None]).T @ jacobian + information
            gradient = (jacobian * weight[:, None]).T @ r + information @ p
            step = np.clip(np.linalg.solve(normal, gradient), -MAX_STEP_RAD, MAX_STEP_RAD)
            p = p - step
            if np.abs(step).max() < 1e-5:
                break
    return p


def _jacobian(residuals: Residuals, p: Array, at_p: Array, epsilon: float = 1e-5) -> Array:
    return np.stack([(residuals(p + epsilon * axis) - at_p) / epsilon for axis in np.eye(len(p))], 1)


def _epipolar_residuals(pair: FramePair, start: CameraMotion, tangents: Array, p: Array) -> Array:
    rotation = rotation_matrix(p[:3]) @ start.rotation
    return sampson_distance(
        essential_matrix(rotation, _tilt_direction(start.translation, tangents, p[3:])), pair.a, pair.b
    )


def _rotation_residuals(pair: FramePair, start: CameraMotion, p: Array) -> Array:
    turned = pair.a @ (rotation_matrix(p) @ start.rotation).T
    return np.asarray((pair.b[:, :2] - turned[:, :2] / np.maximum(turned[:, 2:], 1e-6)).ravel())


def _tangents(translation: Array) -> Array:
    """Two unit vectors ``(2, 3)`` that stand upright on the translation and on each other."""
    unit = translation / np.linalg.norm(translation)
    first = np.cross(unit, np.eye(3)[int(np.argmin(np.abs(unit)))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(unit, first)])


def _tilt_direction(translation: Array, tangents: Array, tilt: Array) -> Array:
    direction = translation / np.linalg.norm(translation) + tilt @ tangents
    return np.asarray(direction / np.linalg.norm(direction))


def _make_refined(pair: FramePair, rotation: Array, direction: Array | None) -> RefinedMotion:
    deviation = None
    if direction is not None:
        cosine = direction @ pair.motion.translation / pair.motion.baseline
        deviation = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    correction = cv2.Rodrigues(rotation @ pair.motion.rotation.T)[0][:, 0]
    return RefinedMotion(pair=pair, rotation=rotation, correction=correction, direction=direction, deviation=deviation)


def _worst_region(refined: RefinedMotion, direction: Array, command: CommandedCamera) -> float | None:
    """How far the tracks of one region agree to be off, reference px: the largest of the regions' signed medians.

    None where fewer than two regions hold tracks.
    """
    pair = refined.pair
    residuals = sampson_distance(essential_matrix(refined.rotation, direction), pair.a, pair.b) / command.pixel
    return max(map(abs, region_medians(pair.image, residuals, command.image_size)), default=None)
