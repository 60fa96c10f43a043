"""Padding of short recordings by extrapolation at constant velocity."""

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from driveforge.datasets.geometry import Array, inverse, pose, yaw_from_pose, yaw_rotation
from driveforge.datasets.scene import Camera, Scene, Track

# Velocities are averaged over at most this time: long enough to suppress pose noise, short enough for the last motion.
_VELOCITY_SPAN_S = 0.5


def pad_scene(scene: Scene, num_frames: int, frame_rate: float) -> Scene:
    """``scene`` padded to ``num_frames`` with held frames at ``frame_rate`` Hz.

    The ego vehicle keeps its last twist (body velocity and angular velocity); every box that is present in the last
    frame keeps its last velocity and yaw rate. Needs an ego pose and at least two frames. The caller repeats the image.
    """
    num_held = num_frames - scene.num_frames
    assert scene.ego_to_world is not None and scene.num_frames >= 2 and num_held > 0
    times, last = scene.timestamps, scene.num_frames - 1
    elapsed = np.arange(1, num_held + 1) / frame_rate
    first = int(np.argmax(times >= times[last] - _VELOCITY_SPAN_S - 1e-6))
    first = min(first, last - 1)
    twist = motion_to_twist(inverse(scene.ego_to_world[first]) @ scene.ego_to_world[last]) / (
        times[last] - times[first]
    )
    return replace(
        scene,
        timestamps=np.concatenate([times, times[last] + elapsed]),
        ego_to_world=np.concatenate(
            [scene.ego_to_world, scene.ego_to_world[last] @ twists_to_motions(twist * elapsed[:, None])]
        ),
        cameras=tuple(_pad_camera(camera, elapsed) for camera in scene.cameras),
        tracks=tuple(_pad_track(track, times, first, elapsed) for track in scene.tracks),
        held_frames=scene.held_frames + num_held,
    )


def _pad_camera(camera: Camera, elapsed: Array) -> Camera:
    """``camera`` with ``elapsed`` ``(K,)`` s more frames, which have times but no images."""
    extrinsics, times, tokens = camera.camera_to_ego, camera.image_times_us, camera.image_tokens
    if extrinsics is not None and extrinsics.ndim == 3:
        extrinsics = _repeat_last(extrinsics, len(elapsed))
    if times is not None:
        times = np.concatenate([times, times[-1] + np.round(elapsed * 1e6).astype(np.int64)])
    if tokens is not None:
        tokens = (*tokens, *[""] * len(elapsed))
    return replace(camera, camera_to_ego=extrinsics, image_times_us=times, image_tokens=tokens)


def _pad_track(track: Track, times: Array, first: int, elapsed: Array) -> Track:
    present = np.concatenate([track.present, np.full(len(elapsed), track.present[-1])])
    box_to_world = _repeat_last(track.box_to_world, len(elapsed))
    start = first + int(np.argmax(track.present[first:]))
    last = len(times) - 1
    if track.present[last] and start < last:
        a, b, span = track.box_to_world[start], track.box_to_world[last], times[last] - times[start]
        velocity = (b[:3, 3] - a[:3, 3]) / span
        # The complex exponential wraps the difference of yaws to -pi..pi.
        yaw_rate = np.angle(np.exp(1j * (yaw_from_pose(b) - yaw_from_pose(a)))) / span
        rotation = yaw_rotation(yaw_rate * elapsed) @ b[:3, :3]
        box_to_world[last + 1 :] = pose(rotation, b[:3, 3] + velocity * elapsed[:, None])
    points, attributes = track.lidar_points, track.attributes
    return replace(
        track,
        box_to_world=box_to_world,
        present=present,
        lidar_points=None if points is None else np.append(points, np.full(len(elapsed), -1)),
        attributes=None if attributes is None else (*attributes, *[""] * len(elapsed)),
    )


def _repeat_last(array: Array, count: int) -> Array:
    return np.concatenate([array, np.repeat(array[-1:], count, axis=0)])


def motion_to_twist(motion: Array) -> Array:
    """Twist ``(6,)`` whose exponential is the ``(4, 4)`` motion: rotation vector, then translational velocity.

    The logarithm of SE(3) (Lynch and Park, Modern Robotics, 2017, section 3.3.3).
    """
    # Not cv2.Rodrigues, which rounds rotations of up to 1e-5 rad to zero.
    rotation_vector = Rotation.from_matrix(motion[:3, :3]).as_rotvec()
    return np.concatenate([rotation_vector, np.linalg.solve(_left_jacobian(rotation_vector), motion[:3, 3])])


def twists_to_motions(twists: Array) -> Array:
    """Motions ``(N, 4, 4)`` of twists ``(N, 6)``."""
    rotation = np.stack([cv2.Rodrigues(twist[:3].copy())[0] for twist in twists])
    translation = np.stack([_left_jacobian(twist[:3]) @ twist[3:] for twist in twists])
    return pose(rotation, translation)


def _left_jacobian(rotation_vector: Array) -> Array:
    """Left Jacobian ``(3, 3)`` of SO(3): the mean rotation over a turn by ``rotation_vector`` ``(3,)``.

    It maps a constant body velocity to the displacement over the turn.
    """
    x, y, z = rotation_vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = float(np.linalg.norm(rotation_vector))
    if angle < 1e-6:
        return np.eye(3) + cross / 2
    return np.asarray(
        np.eye(3) + (1 - np.cos(angle)) / angle**2 * cross + (angle - np.sin(angle)) / angle**3 * cross @ cross
    )
