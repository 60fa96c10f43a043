"""State and action of a driving episode, from its ego poses."""

from dataclasses import replace

import numpy as np

from driveforge.datasets.ego_motion import ego_motion
from driveforge.datasets.geometry import Array, inverse, yaw_from_pose
from driveforge.datasets.scene import Scene

# Meters, radians, seconds; in the frame of the first ego pose: x forward, y left, z up.
STATE_NAMES = ("x", "y", "z", "heading", "speed", "yaw_rate")
# Meters and radians per frame; in the frame of the current ego pose.
ACTION_NAMES = ("forward", "left", "turn")


def states(scene: Scene) -> Array:
    """``(T, 6)``: position, continuous heading, forward speed (negative in reverse) and yaw rate.

    Needs an ego pose and two frames.
    """
    assert scene.ego_to_world is not None and scene.num_frames > 1
    poses = inverse(scene.ego_to_world[0]) @ scene.ego_to_world
    motion = ego_motion(replace(scene, ego_to_world=poses))
    return np.column_stack([poses[:, :3, 3], np.unwrap(yaw_from_pose(poses)), motion.speed, motion.yaw_rate])


def actions(ego_to_world: Array) -> Array:
    """``(T, 3)``: the ego motion to the next frame. The last row, which has no next frame, repeats the one before."""
    steps = inverse(ego_to_world[:-1]) @ ego_to_world[1:]
    motion = np.column_stack([steps[:, 0, 3], steps[:, 1, 3], yaw_from_pose(steps)])
    return np.concatenate([motion, motion[-1:]])
