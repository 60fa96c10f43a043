"""Edits of the ego path."""

import re
from dataclasses import replace

import numpy as np

from driveforge.datasets.edits.paths import (
    braking_times,
    interpolate,
    moving_ego_path,
    shift_path,
    slowing_times,
    with_ego_path,
)
from driveforge.datasets.geometry import inverse
from driveforge.datasets.scene import Scene

_OPPOSITE_SIDE = {"left": "right", "right": "left"}


def slow_ego(scene: Scene, last_speed: float) -> Scene:
    """The ego path at a speed that falls linearly to ``last_speed`` times the recorded speed."""
    path = moving_ego_path(scene)
    return with_ego_path(scene, interpolate(scene.timestamps, path, slowing_times(scene.timestamps, last_speed)))


def brake_ego(scene: Scene, deceleration: float) -> Scene:
    """The ego path of a vehicle that brakes by ``deceleration`` m/s² from the first frame on, until it stops."""
    path = moving_ego_path(scene)
    return with_ego_path(
        scene, interpolate(scene.timestamps, path, braking_times(scene.timestamps, path, deceleration))
    )


def shift_ego(scene: Scene, meters: float) -> Scene:
    """The ego path with a lateral offset that grows smoothly to ``meters`` (positive is left)."""
    return with_ego_path(scene, shift_path(moving_ego_path(scene), meters))


def mirror_ego(scene: Scene) -> Scene:
    """The ego path mirrored at the vertical plane through its first heading: left turns become right turns."""
    path = moving_ego_path(scene)
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    caption = re.sub(r"\b(left|right)\b", lambda side: _OPPOSITE_SIDE[side[0]], scene.caption)
    scene = replace(scene, caption=caption)
    return with_ego_path(scene, np.asarray(path[0] @ mirror @ (inverse(path[0]) @ path) @ mirror))
