"""Speed and steering of the ego vehicle, from its poses."""

from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array, yaw_from_pose
from driveforge.datasets.scene import Scene

# Below this speed in m/s, noise of the pose dominates the curvature.
_MIN_SPEED = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EgoMotion:
    """``(T,)`` each, NaN if unknown: ``speed`` m/s along the heading, negative in reverse; ``acceleration`` m/s², its
    rate of change; ``yaw_rate`` rad/s, positive to the left; ``curvature`` 1/m of the path, positive to the left.

    The curvature is unknown below 0.5 m/s. A vehicle with a wheelbase of L m steers its front wheels by
    ``arctan(L * curvature)`` (kinematic bicycle model with the ego frame at the rear axle, as in nuScenes).
    """

    speed: Array
    acceleration: Array
    yaw_rate: Array
    curvature: Array


def ego_motion(scene: Scene) -> EgoMotion:
    """The motion in every frame by central differences, at the ends by one-sided ones."""
    poses, times = scene.ego_to_world, scene.timestamps
    if poses is None or scene.num_frames < 2:
        unknown = np.full(scene.num_frames, np.nan)
        return EgoMotion(speed=unknown, acceleration=unknown, yaw_rate=unknown, curvature=unknown)
    velocity = np.gradient(poses[:, :3, 3], times, axis=0)
    speed = np.einsum("ti,ti->t", velocity, poses[:, :3, 0])
    yaw_rate = np.gradient(np.unwrap(yaw_from_pose(poses)), times)
    is_moving = np.abs(speed) >= _MIN_SPEED
    return EgoMotion(
        speed=speed,
        acceleration=np.asarray(np.gradient(speed, times)),
        yaw_rate=np.asarray(yaw_rate),
        curvature=np.where(is_moving, yaw_rate / np.where(is_moving, speed, 1.0), np.nan),
    )
