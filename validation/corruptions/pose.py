"""Corruptions of the commanded ego pose and focal length under unchanged pixels.

Boxes and lanes stay in place in the world: only the commanded camera is wrong. The pose of the first frame stays
correct if the error accumulates.
"""

from dataclasses import replace

import numpy as np

from driveforge.datasets.geometry import Array, inverse, pose, yaw_rotation
from driveforge.datasets.scene import Camera, Clip
from driveforge.validation.camera.pose_refinement import rotation_matrix
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable, random_sign, require_poses

MIN_PATH_M = 1.0


def yaw_rate(clip: Clip, degrees_per_second: float, rng: np.random.Generator) -> Clip:
    """Adds a yaw rate to the commanded ego; its steps stay the same in its own frame, so the path bends."""
    path, times = require_poses(clip.scene), clip.scene.timestamps
    turns = random_sign(rng) * np.radians(degrees_per_second) * np.diff(times)
    steps = inverse(path[:-1]) @ path[1:] @ pose(yaw_rotation(turns), np.zeros(3))
    bent_path = [path[0]]
    for step in steps:
        bent_path.append(bent_path[-1] @ step)
    return clip.with_scene(ego_to_world=np.stack(bent_path))


def lateral_drift(clip: Clip, meters_per_second: float, rng: np.random.Generator) -> Clip:
    """Adds a sideways velocity to the commanded ego, at unchanged heading."""
    path, times = require_poses(clip.scene), clip.scene.timestamps
    slide = np.zeros((len(path), 3))
    slide[:, 1] = random_sign(rng) * meters_per_second * (times - times[0])
    return clip.with_scene(ego_to_world=path @ pose(np.eye(3), slide))


def speed(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """The commanded ego is faster by ``percent``, or slower by the inverse factor; headings stay."""
    path = np.array(require_poses(clip.scene))
    places = path[:, :3, 3]
    if np.linalg.norm(np.diff(places, axis=0), axis=1).sum() < MIN_PATH_M:
        raise CorruptionNotApplicable(f"{clip.scene.clip_id}: the ego vehicle moves less than {MIN_PATH_M:g} m")
    path[:, :3, 3] = places[0] + _factor(percent, rng) * (places - places[0])
    return clip.with_scene(ego_to_world=path)


def pose_jitter(clip: Clip, degrees: float, rng: np.random.Generator) -> Clip:
    """Adds white noise to the commanded orientation, with a root mean square of ``degrees`` about each axis."""
    path = require_poses(clip.scene)
    noise: Array = rng.normal(size=(len(path), 3))
    noise *= np.radians(degrees) / np.sqrt((noise**2).mean(0))
    rotations = np.stack([rotation_matrix(vector) for vector in noise])
    return clip.with_scene(ego_to_world=path @ pose(rotations, np.zeros(3)))


def focal_length(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """All commanded focal lengths are longer by ``percent``, or shorter by the inverse factor."""
    factor = _factor(percent, rng)
    return clip.with_scene(cameras=tuple(_scale_focal_length(camera, factor) for camera in clip.scene.cameras))


def _factor(percent: float, rng: np.random.Generator) -> float:
    return float((1 + percent / 100) ** random_sign(rng))


def _scale_focal_length(camera: Camera, factor: float) -> Camera:
    if camera.intrinsics is None:
        return camera
    return replace(camera, intrinsics=camera.intrinsics * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]])
