"""Selects frames of a scene or a clip, with their poses, tracks and timestamps."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Camera, Clip, Scene, Track


def select_frames(scene: Scene, frames: NDArray[np.int64]) -> Scene:
    """``scene`` at the increasing indices ``frames`` ``(K,)``; ``held_frames`` is recomputed."""
    return replace(
        scene,
        timestamps=scene.timestamps[frames],
        ego_to_world=None if scene.ego_to_world is None else scene.ego_to_world[frames],
        cameras=tuple(_select_camera_frames(camera, frames) for camera in scene.cameras),
        tracks=tuple(_select_track_frames(track, frames) for track in scene.tracks),
        held_frames=int((frames >= scene.num_frames - scene.held_frames).sum()),
    )


def select_clip_frames(clip: Clip, frames: NDArray[np.int64]) -> Clip:
    return Clip(scene=select_frames(clip.scene, frames), frames=clip.frames[:, frames])


def _select_camera_frames(camera: Camera, frames: NDArray[np.int64]) -> Camera:
    extrinsics, times, tokens = camera.camera_to_ego, camera.image_times_us, camera.image_tokens
    if extrinsics is not None and extrinsics.ndim == 3:  # otherwise the same for all frames
        extrinsics = extrinsics[frames]
    return replace(
        camera,
        camera_to_ego=extrinsics,
        image_times_us=None if times is None else times[frames],
        image_tokens=None if tokens is None else tuple(tokens[t] for t in frames),
    )


def _select_track_frames(track: Track, frames: NDArray[np.int64]) -> Track:
    return replace(
        track,
        box_to_world=track.box_to_world[frames],
        present=track.present[frames],
        lidar_points=None if track.lidar_points is None else track.lidar_points[frames],
        attributes=None if track.attributes is None else tuple(track.attributes[t] for t in frames),
    )
