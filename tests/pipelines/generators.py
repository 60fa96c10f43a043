"""A fake generator that takes a few milliseconds per clip; importable in a Ray actor."""

import time
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import inverse
from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.sampler_settings import SamplerSettings


class FakeGenerator:
    """Rotates the first frame, or noise of the seed, with the commanded camera, as a world at infinity would look."""

    def __init__(self, digest: str = "fake-1", seconds: float = 0.0) -> None:
        self.digest = digest
        self._seconds = seconds

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        time.sleep(self._seconds)
        views = []
        for number, camera in enumerate(scene.cameras):
            if first_frames is None:
                start = np.random.default_rng([seed, number]).integers(0, 255, (12, 20, 3), np.uint8)
                start = cv2.resize(start, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
            else:
                start = first_frames[number, 0]
            views.append(_rotated(start, scene, number))
        return Clip(scene=scene, frames=np.stack(views))

    def reconstruct(self, clip: Clip) -> Clip:
        return Clip(scene=clip.scene, frames=clip.frames // 4 * 4)


def _rotated(start: NDArray[np.uint8], scene: Scene, number: int) -> NDArray[np.uint8]:
    camera = scene.cameras[number]
    camera_to_world = scene.camera_to_world(camera)
    frames = []
    for pose in camera_to_world:
        rotation = (inverse(camera_to_world[0]) @ pose)[:3, :3]
        homography = camera.intrinsics @ rotation.T @ np.linalg.inv(camera.intrinsics)
        frames.append(
            cv2.warpPerspective(start, homography, (camera.width, camera.height), borderMode=cv2.BORDER_REFLECT)
        )
    return np.stack(frames)


def first_frames_of(scene: Scene) -> NDArray[np.uint8]:
    """Textured first frames ``(V, 1, H, W, 3)``, a function of the clip id only."""
    camera = scene.cameras[0]
    rng = np.random.default_rng(zlib.crc32(scene.clip_id.encode()))
    coarse = rng.integers(0, 255, (len(scene.cameras), 12, 20, 3), np.uint8)
    return np.stack(
        [cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC) for image in coarse]
    )[:, None]
