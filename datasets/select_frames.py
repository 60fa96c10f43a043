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
    extrinsics = camera.camera_to_ego
    if extrinsics is None or extrinsics.ndim == 2:  # (4, 4): the same for all frames
        return camera
    return replace(camera, camera_to_ego=extrinsics[frames])


def _select_track_frames(track: Track, frames: NDArray[np.int64]) -> Track:
    return replace(track, box_to_world=track.box_to_world[frames], present=track.present[frames])
