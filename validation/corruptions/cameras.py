"""One camera at odds with the others: its mounting as commanded, or its clock.

The camera is drawn from the calibrated ones behind the first, which is the reference of all measures.
"""

from dataclasses import replace

import numpy as np

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.scene import Clip
from driveforge.validation.camera.pose_refinement import rotation_matrix
from driveforge.validation.corruptions.requirements import NotApplicable, check_frames, sign
from driveforge.validation.corruptions.time import first_frames

MIN_FRAMES_LEFT = 2


def camera_yaw(clip: Clip, degrees: float, rng: np.random.Generator) -> Clip:
    """One camera is said to look further to one side, turned where it stands about the ego's z axis."""
    number = _odd_camera(clip, rng)
    mount = _mount(clip, number)
    turned = pose(yaw_rotation(sign(rng) * np.radians(degrees)) @ mount[..., :3, :3], mount[..., :3, 3])
    return _remounted(clip, number, turned)


def camera_pitch(clip: Clip, degrees: float, rng: np.random.Generator) -> Clip:
    """One camera is said to look further up or down, turned about its own x axis."""
    number = _odd_camera(clip, rng)
    nod = rotation_matrix(np.array([sign(rng) * np.radians(degrees), 0.0, 0.0]))
    return _remounted(clip, number, _mount(clip, number) @ pose(nod, np.zeros(3)))


def camera_async(clip: Clip, seconds: float, rng: np.random.Generator) -> Clip:
    """The pixels of one camera are early by ``seconds``, to the nearest frame; the clip ends that much sooner."""
    number = _odd_camera(clip, rng)
    rate = clip.scene.frame_rate
    early = round(seconds * rate)
    if early == 0:
        raise NotApplicable(f"{clip.scene.clip_id}: {seconds:g} s is less than half a frame at {rate:g} Hz")
    check_frames(clip, early + MIN_FRAMES_LEFT)
    left = clip.scene.num_frames - early
    frames = clip.frames[:, :left].copy()
    frames[number] = clip.frames[number, early:]
    return Clip(scene=first_frames(clip.scene, left), frames=frames)


def _odd_camera(clip: Clip, rng: np.random.Generator) -> int:
    calibrated = [i for i, camera in enumerate(clip.scene.cameras) if camera.is_calibrated]
    return int(rng.choice(calibrated[1:]))


def _mount(clip: Clip, number: int) -> Array:
    mount = clip.scene.cameras[number].camera_to_ego
    assert mount is not None
    return mount


def _remounted(clip: Clip, number: int, mount: Array) -> Clip:
    cameras = list(clip.scene.cameras)
    cameras[number] = replace(cameras[number], camera_to_ego=mount)
    return clip.with_scene(cameras=tuple(cameras))
