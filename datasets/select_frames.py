"""Some frames of a scene or a clip, with all that belongs to them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Camera, Clip, Scene, Track


def excerpt(scene: Scene, frames: NDArray[np.int64]) -> Scene:
    """``scene`` at ``frames`` ``(K,)``, which rise; how many of them are held is worked out anew."""
    return replace(
        scene,
        timestamps=scene.timestamps[frames],
        ego_to_world=None if scene.ego_to_world is None else scene.ego_to_world[frames],
        cameras=tuple(_of_camera(camera, frames) for camera in scene.cameras),
        tracks=tuple(_of_track(track, frames) for track in scene.tracks),
        held_frames=int((frames >= scene.num_frames - scene.held_frames).sum()),
    )


def excerpt_of_clip(clip: Clip, frames: NDArray[np.int64]) -> Clip:
    return Clip(scene=excerpt(clip.scene, frames), frames=clip.frames[:, frames])


def _of_camera(camera: Camera, frames: NDArray[np.int64]) -> Camera:
    mount = camera.camera_to_ego
    return replace(camera, camera_to_ego=mount[frames]) if mount is not None and mount.ndim == 3 else camera


def _of_track(track: Track, frames: NDArray[np.int64]) -> Track:
    return replace(track, box_to_world=track.box_to_world[frames], present=track.present[frames])
