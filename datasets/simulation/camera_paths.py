"""Paths of cameras that are not on a vehicle: rig poses ``(T, 4, 4)``, x forward and z up."""

import numpy as np

from driveforge.datasets.geometry import Array, pose


def look_at(positions: Array, targets: Array) -> Array:
    """Poses at ``positions`` ``(T, 3)`` that look at ``targets`` ``(T, 3)`` with a level horizon."""
    forward = targets - positions
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    left = np.cross(np.array([0.0, 0.0, 1.0]), forward)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    return pose(np.stack([forward, left, np.cross(forward, left)], -1), positions)


def orbit_path(rng: np.random.Generator, times: Array) -> Array:
    """An orbit around the origin at constant angular velocity, with slight changes of radius and height."""
    rate = np.radians(rng.uniform(8, 38)) * rng.choice([-1, 1])
    angle = rng.uniform(0, 2 * np.pi) + rate * times
    radius = rng.uniform(4.5, 8.5) * (1 + rng.uniform(-0.06, 0.06) * times)
    height = rng.uniform(1.2, 3.6) + rng.uniform(-0.3, 0.3) * times
    positions = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)
    return look_at(positions, np.broadcast_to([0.0, 0.0, rng.uniform(0.3, 0.8)], positions.shape))


def walk_path(rng: np.random.Generator, times: Array, start: Array, heading: float) -> Array:
    """A hand-held walk from ``start`` ``(2,)`` m along ``heading`` rad, with step bob and hand shake."""
    pace, cadence = rng.uniform(0.7, 1.5), rng.uniform(1.6, 2.1)
    walk_yaw = heading + 0.12 * _smooth_noise(rng, times, 0.3)
    direction = np.stack([np.cos(walk_yaw), np.sin(walk_yaw)], 1)
    steps = pace * np.diff(times, prepend=times[0])[:, None] * direction
    bob = 0.022 * np.sin(2 * np.pi * cadence * times)
    side = 0.015 * np.sin(np.pi * cadence * times)
    ground = start + np.cumsum(steps, 0) + side[:, None] * direction[:, ::-1] * [-1, 1]
    positions = np.column_stack([ground, rng.uniform(1.45, 1.75) + bob])
    view_yaw = (
        walk_yaw
        + rng.uniform(-0.5, 0.5)
        + np.radians(rng.uniform(-14, 14)) * times
        + 0.05 * _smooth_noise(rng, times, 1.2)
    )
    tilt = rng.uniform(-0.12, 0.04) + 0.03 * _smooth_noise(rng, times, 1.4)
    forward = np.stack([np.cos(view_yaw) * np.cos(tilt), np.sin(view_yaw) * np.cos(tilt), np.sin(tilt)], 1)
    return look_at(positions, positions + forward) @ _roll(0.025 * _smooth_noise(rng, times, 1.1))


def watch_path(rng: np.random.Generator, times: Array, position: Array, target: Array) -> Array:
    """A camera at ``position`` ``(3,)`` m that looks at ``target`` ``(3,)`` m: static, panning, or sliding slowly."""
    style = rng.choice(["still", "pan", "glide"])
    bearing = np.arctan2(target[1] - position[1], target[0] - position[0])
    reach = float(np.linalg.norm((target - position)[:2]))
    pan = (
        np.radians(rng.uniform(5, 14)) * rng.choice([-1, 1]) * (times - times.mean())
        if style == "pan"
        else np.zeros_like(times)
    )
    slide = rng.uniform(-0.5, 0.5, 3) * [1, 1, 0.3] if style == "glide" else np.zeros(3)
    positions = position + slide * times[:, None]
    targets = np.stack(
        [
            positions[:, 0] + reach * np.cos(bearing + pan),
            positions[:, 1] + reach * np.sin(bearing + pan),
            np.full(len(times), target[2]),
        ],
        1,
    )
    return look_at(positions, targets)


def _smooth_noise(rng: np.random.Generator, times: Array, frequency: float) -> Array:
    """Smooth noise of about unit amplitude: four sine waves around ``frequency`` Hz."""
    waves = np.sin(2 * np.pi * np.outer(times, frequency * rng.uniform(0.5, 1.6, 4)) + rng.uniform(0, 2 * np.pi, 4))
    return np.asarray(waves.mean(1) * 1.4)


def _roll(angle: Array) -> Array:
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return pose(np.stack([np.stack([i, o, o], -1), np.stack([o, c, -s], -1), np.stack([o, s, c], -1)], -2), np.zeros(3))
