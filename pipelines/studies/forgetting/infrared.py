"""Simulated clips as an infrared camera would show them: driving that no base checkpoint was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.source import Source

_PREFIX = "infrared-"


@dataclass(frozen=True, kw_only=True)
class InfraredSource:
    """The clips of ``source`` in inverted gray; motion, poses and boxes are unchanged.

    Clip ids have a prefix, so that latents of the two versions of a clip are stored under different keys.
    """

    source: Source

    @property
    def skipped(self) -> Sequence[str]:
        return self.source.skipped

    def __len__(self) -> int:
        return len(self.source)

    def scenes(self) -> Sequence[Scene]:
        return [replace(scene, clip_id=_PREFIX + scene.clip_id) for scene in self.source.scenes()]

    def files(self, scene: Scene) -> Sequence[Path]:
        return self.source.files(_to_original(scene))

    def load(self, scene: Scene) -> Clip:
        clip = self.source.load(_to_original(scene))
        return Clip(scene=scene, frames=np.array([[_invert_gray(image) for image in view] for view in clip.frames]))


def _to_original(scene: Scene) -> Scene:
    return replace(scene, clip_id=scene.clip_id.removeprefix(_PREFIX))


def _invert_gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H,W,3) with luma (Rec. 601) inverted, in all three channels: the dark road and vehicles become bright."""
    gray = 255 - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)
