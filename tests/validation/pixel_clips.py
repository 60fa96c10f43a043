"""Clips of given pixels, of an uncalibrated camera."""

import numpy as np

from driveforge.datasets.scene import Camera, Clip, Scene


def clip_from_frames(frames: np.ndarray, name: str = "clip", rate: float = 10.0) -> Clip:
    """A clip of ``(T, H, W, 3)`` frames of an uncalibrated camera."""
    camera = Camera(name="front", width=frames.shape[2], height=frames.shape[1])
    scene = Scene(clip_id=name, domain="test", timestamps=np.arange(len(frames)) / rate, cameras=(camera,))
    return Clip(scene=scene, frames=np.clip(np.round(frames), 0, 255).astype(np.uint8)[None])
