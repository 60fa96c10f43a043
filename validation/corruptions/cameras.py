"""Corruptions of one camera: its commanded mounting, or its clock.

The camera is sampled from the calibrated ones except the first, which is the reference of all measures.
"""

from dataclasses import replace

import numpy as np

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.scene import Clip
from driveforge.validation.camera.pose_refinement import rotation_matrix
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable, check_frames, random_sign
from driveforge.validation.corruptions.time import truncate_scene

MIN_FRAMES_LEFT = 2


def camera_yaw(clip: Clip, degrees: float, rng: np.random.Generator) -> Clip:
    """The command rotates one camera about the ego's z axis, at an unchanged position."""
    camera_index = _sample_camera(clip, rng)
    mount = _mount(clip, camera_index)
    rotated = pose(yaw_rotation(random_sign(rng) * np.radians(degrees)) @ mount[..., :3, :3], mount[..., :3, 3])
    return _with_mount(clip, camera_index, rotated)


def camera_pitch(clip: Clip, degrees: float, rng: np.random.Generator) -> Clip:
    """The command rotates one camera up or down, about its own x axis."""
    camera_index = _sample_camera(clip, rng)
    nod = rotation_matrix(np.array([random_sign(rng) * np.radians(degrees), 0.0, 0.0]))
    return _with_mount(clip, camera_index, _mount(clip, camera_index) @ pose(nod, np.zeros(3)))


def camera_async(clip: Clip, seconds: float, rng: np.random.Generator) -> Clip:
    """The pixels of one camera are early by ``seconds``, rounded to frames; the clip is shorter by as many."""
    camera_index = _sample_camera(clip, rng)
    rate = clip.scene.frame_rate
    num_frames_early = round(seconds * rate)
    if num_frames_early == 0:
        raise CorruptionNotApplicable(f"{clip.scene.clip_id}: {seconds:g} s is less than half a frame at {rate:g} Hz")
    check_frames(clip, num_frames_early + MIN_FRAMES_LEFT)
    num_frames_left = clip.scene.num_frames - num_frames_early
    frames = clip.frames[:, :num_frames_left].copy()
    frames[camera_index] = clip.frames[camera_index, num_frames_early:]
    return Clip(scene=truncate_scene(clip.scene, num_frames_left), frames=frames)


def _sample_camera(clip: Clip, rng: np.random.Generator) -> int:
    calibrated = [i for i, camera in enumerate(clip.scene.cameras) if camera.is_calibrated]
    return int(rng.choice(calibrated[1:]))


def _mount(clip: Clip, camera_index: int) -> Array:
    mount = clip.scene.cameras[camera_index].camera_to_ego
    assert mount is not None
    return mount


def _with_mount(clip: Clip, camera_index: int, mount: Array) -> Clip:
    cameras = list(clip.scene.cameras)
    cameras[camera_index] = replace(cameras[camera_index], camera_to_ego=mount)
    return clip.with_scene(cameras=tuple(cameras))
