"""State and action of a driving episode, from its ego poses."""

import numpy as np

from driveforge.datasets.geometry import Array, inverse, yaw_from_pose

# Meters, radians, seconds; in the frame of the first ego pose: x forward, y left, z up.
STATE_NAMES = ("x", "y", "z", "heading", "speed", "yaw_rate")
# Meters and radians per frame; in the frame of the current ego pose.
ACTION_NAMES = ("forward", "left", "turn")


def states(ego_to_world: Array, timestamps: Array) -> Array:
    """``(T, 6)``: position, continuous heading, forward speed (negative in reverse) and yaw rate.

    Rates are derived from ``timestamps`` ``(T,)`` by central differences, one-sided at both ends. Needs two frames.
    """
    poses = inverse(ego_to_world[0]) @ ego_to_world
    heading = np.unwrap(yaw_from_pose(poses))
    velocity = np.gradient(poses[:, :3, 3], timestamps, axis=0)
    speed = np.einsum("ti,ti->t", velocity, poses[:, :3, 0])
    return np.column_stack([poses[:, :3, 3], heading, speed, np.gradient(heading, timestamps)])


def actions(ego_to_world: Array) -> Array:
    """``(T, 3)``: the ego motion to the next frame. The last row, which has no next frame, repeats the one before."""
    steps = inverse(ego_to_world[:-1]) @ ego_to_world[1:]
    motion = np.column_stack([steps[:, 0, 3], steps[:, 1, 3], yaw_from_pose(steps)])
    return np.concatenate([motion, motion[-1:]])
