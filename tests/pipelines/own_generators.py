"""Generator classes of a user, good and broken; importable in workers as ``model.generator``."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from tests.pipelines.generators import FakeGenerator


class Own:
    """Without ``reconstruct``, and with a digest that is known before it is created."""

    digest = "own-1.0"

    def __init__(self, folder: Path | None, device: str) -> None:
        self._generator = FakeGenerator()

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        return self._generator.generate(scene, first_frames, seed=seed, settings=settings)


class OwnOfFolder(FakeGenerator):
    """With ``reconstruct``, and a digest that only the loaded model knows."""

    def __init__(self, folder: Path | None, device: str) -> None:
        super().__init__(f"weights-{folder.read_text()}" if folder else "no-weights")


class ArrayCodec(OwnOfFolder):
    def reconstruct(self, clip: Clip) -> Any:
        return clip.frames


class Unloadable(OwnOfFolder):
    def __init__(self, folder: Path | None, device: str) -> None:
        raise RuntimeError("the service does not answer")


class BadDigest(OwnOfFolder):
    def __init__(self, folder: Path | None, device: str) -> None:
        super().__init__(folder, device)
        self.digest = "two words"


class NoGenerate:
    digest = "none"


class WrongConstructor(FakeGenerator):
    digest = "wrong"

    def __init__(self) -> None:
        super().__init__("wrong")


class _Broken(FakeGenerator):
    """Returns ``result`` of the right clip."""

    digest = "broken"

    def __init__(self, folder: Path | None, device: str) -> None:
        super().__init__("broken")

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        result: Clip = self.result(super().generate(scene, first_frames, seed=seed, settings=settings))
        return result

    def result(self, clip: Clip) -> Any:
        raise NotImplementedError


class Floats(_Broken):
    def result(self, clip: Clip) -> Any:
        return Clip(scene=clip.scene, frames=clip.frames / np.float32(255))  # type: ignore[arg-type]


class TooFewFrames(_Broken):
    def result(self, clip: Clip) -> Any:
        scene, ego = clip.scene, clip.scene.ego_to_world
        assert ego is not None
        short = replace(scene, timestamps=scene.timestamps[:3], ego_to_world=ego[:3], tracks=())
        return Clip(scene=short, frames=clip.frames[:, :3])


class Array(_Broken):
    def result(self, clip: Clip) -> Any:
        return clip.frames


class Random(_Broken):
    """Draws noise that its seed does not determine."""

    def result(self, clip: Clip) -> Any:
        noise = np.random.default_rng().integers(0, 9, clip.frames.shape, np.uint8)
        return Clip(scene=clip.scene, frames=clip.frames // 2 + noise)


class Service(Random):
    """Says that it cannot repeat a clip."""

    deterministic = False


class Tunable(Own):
    """Noise from one step, a good clip from more; guidance takes time. Fails while there is a file ``fail``."""

    digest = "tunable-1"

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        clip = super().generate(scene, first_frames, seed=seed, settings=settings)
        time.sleep(0.03 if settings.guidance_scale == 1 else 0.3)
        if settings.num_steps > 1:
            return clip
        if Path("fail").exists():
            raise RuntimeError("out of memory")
        noise = np.random.default_rng(seed).integers(0, 256, clip.frames.shape, np.uint8)
        return Clip(scene=scene, frames=noise)
