"""Trajectories of bodies that fall and bounce."""

import numpy as np

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.simulation.world import Size

_GRAVITY = 9.81
_STEP_S = 1e-3
_REST_SPEED = 0.15


def simulate_bounce(
    timestamps: Array,
    place: Array,
    heading: float,
    size: Size,
    *,
    height: float,
    velocity: Array,
    lift: float,
    spin: float,
    restitution: float,
    is_rolling: bool,
) -> Array:
    """Poses ``(T, 4, 4)`` of a body's center, thrown upward with ``lift`` m/s from ``height`` m above the floor.

    ``velocity`` ``(2,)`` is horizontal, in m/s; ``spin`` is the yaw rate in rad/s. An impact keeps ``restitution`` of
    the vertical speed and 0.8 of the horizontal speed; the body stops if it rebounds with less than 0.15 m/s. It yaws
    and, if ``is_rolling``, also rolls forward.
    """
    x, y, z, yaw, roll = _integrate_flight(
        timestamps - timestamps[0], place, heading, size[2] / 2, height, velocity, lift, spin, restitution
    )
    turn = yaw_rotation(yaw)
    if is_rolling:
        bearing = float(np.arctan2(velocity[1], velocity[0]))
        c, s, o, i = np.cos(roll), np.sin(roll), np.zeros_like(roll), np.ones_like(roll)
        forward = np.stack([np.stack([c, o, s], -1), np.stack([o, i, o], -1), np.stack([-s, o, c], -1)], -2)
        turn = yaw_rotation(bearing) @ forward @ yaw_rotation(heading)
    return pose(turn, np.stack([x, y, z + size[2] / 2], 1))


def _integrate_flight(
    elapsed: Array,
    place: Array,
    heading: float,
    radius: float,
    height: float,
    velocity: Array,
    lift: float,
    spin: float,
    restitution: float,
) -> Array:
    """x, y, height of the lowest point, yaw and roll ``(5, T)``, integrated in steps of 1 ms."""
    steps = round(float(elapsed[-1]) / _STEP_S) + 1
    path = np.empty((steps, 5))
    state = np.array([place[0], place[1], height, heading, 0.0])
    speed = np.array([velocity[0], velocity[1], lift])
    for k in range(steps):
        path[k] = state
        state[:3] += _STEP_S * speed
        state[3] += _STEP_S * spin
        state[4] += _STEP_S * float(np.hypot(speed[0], speed[1])) / radius
        speed[2] -= _STEP_S * _GRAVITY
        if state[2] < 0:
            state[2] = 0.0
            rebound = -restitution * speed[2]
            if rebound < _REST_SPEED:
                path[k + 1 :] = state
                break
            speed, spin = np.array([0.8 * speed[0], 0.8 * speed[1], rebound]), 0.8 * spin
    return np.stack([np.interp(elapsed, np.arange(steps) * _STEP_S, column) for column in path.T])
