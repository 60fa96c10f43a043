"""The camera motion estimated from background tracks, by refinement of the commanded motion.

Five unknowns, a rotation vector and two tangent coordinates of the translation's direction, minimize the sum of rho(d)
over the Sampson distances d (reference px). Gauss-Newton by iteratively reweighted least squares; rho is the
Geman-McClure kernel d² / (s² + d²), whose width s shrinks step by step (graduated non-convexity: Black and Rangarajan,
IJCV 1996), so that moving objects are downweighted and local minima are avoided. The search starts from the best of
many yaw angles around the command, so that a large yaw error is found too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.epipolar import essential_matrix, sampson_distance
from driveforge.validation.camera.pairs import MIN_BASELINE_M, FramePair, pairs_with_gap, too_few_tracks_reason
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.views.view import CameraMotion, CommandedCamera

GAP = 4  # frames
MIN_TRACKS = 20
KERNEL_WIDTHS = (6.0, 3.0, 1.5, 1.0, 1.0)  # reference px
STEPS_PER_WIDTH = 3
MAX_STEP_RAD = 0.05
START_YAWS = np.radians(np.arange(-24.0, 25.0))
# A start other than the command must lower the mean kernel cost by this much.
START_MARGIN = 0.02
# Standard deviations of a weak prior, rad: unknowns that the tracks do not determine stay near the start.
PRIOR_ROTATION, PRIOR_DIRECTION = np.radians(5.0), 0.3

Residuals = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RefinedMotion:
    """The motion estimated from the tracks of ``pair``.

    ``correction`` ``(3,)`` rad is the rotation vector from the commanded to the observed ``rotation``; ``direction``
    ``(3,)`` is the observed unit translation and ``deviation`` rad its angle to the commanded one, both None if the
    camera is commanded to be stationary.
    """

    pair: FramePair
    rotation: Array
    correction: Array
    direction: Array | None
    deviation: float | None


def refine_motion(pair: FramePair, up: Array, pixel: float) -> RefinedMotion:
    """Refine the commanded motion of ``pair``; ``up`` ``(3,)`` is the yaw axis in camera coordinates."""
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
    """The observed motion over the first ``GAP`` frames of each window with enough tracks."""
    pairs = [pair for pair in pairs_with_gap(tracks, command, GAP) if len(pair) >= MIN_TRACKS]
    return [refine_motion(pair, command.up[pair.last], command.pixel) for pair in pairs]


def not_refined_reason(tracks: Tracks, command: CommandedCamera) -> str:
    """The reason why ``refine_motions`` is empty."""
    return too_few_tracks_reason(max((len(pair) for pair in pairs_with_gap(tracks, command, GAP)), default=0))


def rotation_matrix(vector: Array) -> Array:
    """``(3, 3)`` rotation of a rotation vector in rad (Rodrigues)."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64).reshape(3, 1))[0])


def yaw_about(up: Array, vector: Array) -> float:
    """Yaw of the ego about its z axis, rad, from the rotation vector that takes points of a camera to a later one.

    The sign flips because points turn against the camera.
    """
    return float(-(up @ vector))


def _best_start(pair: FramePair, up: Array, pixel: float) -> Array:
    """The yaw correction about ``up`` with the lowest cost; the identity unless it is worse by ``START_MARGIN``."""
    turns = np.stack([np.eye(3), *(rotation_matrix(-yaw * up) for yaw in START_YAWS)])
    rotations = turns @ pair.motion.rotation
    if pair.motion.baseline >= MIN_BASELINE_M:
        residuals = sampson_distance(essential_matrix(rotations, pair.motion.translation), pair.a, pair.b)
    else:
        turned = pair.a @ np.swapaxes(rotations, -1, -2)
        residuals = np.linalg.norm(pair.b[:, :2] - turned[..., :2] / np.maximum(turned[..., 2:], 1e-6), axis=-1)
    squared = (residuals / pixel) ** 2
    cost = (squared / (KERNEL_WIDTHS[0] ** 2 + squared)).mean(-1)  # Geman-McClure; entry 0 is the command
    best = int(np.argmin(cost))
    return np.asarray(turns[best] if cost[best] < cost[0] - START_MARGIN else turns[0])


def _minimize(residuals: Residuals, prior: Array) -> Array:
    """Annealed Gauss-Newton from zero; ``prior`` has the standard deviation of each unknown."""
    p, information = np.zeros(len(prior)), np.diag(prior**-2.0)
    for width in KERNEL_WIDTHS:
        for _ in range(STEPS_PER_WIDTH):
            r = residuals(p)
            weight = (1.0 + (r / width) ** 2) ** -2.0  # rho'(r) / r of the Geman-McClure kernel, 1 at r = 0
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
    """Two unit vectors ``(2, 3)`` orthogonal to the translation and to each other."""
    unit = translation / np.linalg.norm(translation)
    # The axis farthest from the translation keeps the cross product well-conditioned.
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
