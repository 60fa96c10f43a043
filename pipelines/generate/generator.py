"""Generators: the interface of a world model to generation and calibration, and its loader."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.families.registry import Dtype, recognize_family

if TYPE_CHECKING:
    from driveforge.finetune.world_model.sampler_settings import SamplerSettings


class Generator(Protocol):
    """A loaded world model that turns commanded scenes into clips; one per process.

    V cameras, T frames, F given frames. Frames are uint8 RGB of the size of the scene's cameras, H x W. Poses of the
    scene are in meters, ``camera_to_ego`` (4, 4) per camera and ``ego_to_world`` (T, 4, 4); intrinsics are in pixels;
    timestamps (T,) are in seconds. ``digest`` identifies the weights, those of a model folder by
    ``compute_model_digest``: a plan stores it, and generation with other weights is refused.
    """

    digest: str

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: "SamplerSettings"
    ) -> Clip:
        """Generate the clip ``(V, T, H, W, 3)`` that ``scene`` commands.

        ``first_frames`` are the first F frames ``(V, F, H, W, 3)`` of the recorded scene, or None to generate without
        them. The clip must be a pure function of the arguments and the weights, also across processes.
        """

    def reconstruct(self, clip: Clip) -> Clip:
        """Encode and decode ``clip`` ``(V, T, H, W, 3)`` with the VAE only; returns a clip of the same shape.

        Calibration measures reconstructed clips, so that the limits tolerate compression but not wrong geometry.
        """


# Called once in every worker process; it must be picklable by reference, like a ``partial`` of a function.
GeneratorLoader = Callable[[], Generator]


def load_generator(folder: Path, dtype: Dtype = "float32", text_store: Path | None = None) -> Generator:
    """Load the generator of the model in ``folder``, on a GPU if torch finds one.

    ``text_store`` is the folder where embeddings of captions are kept.

    Raises UserError if the folder holds no model, or a model of an unknown family.
    """
    recognize_family(folder)  # before imports that take seconds
    import torch

    from driveforge.finetune.world_model.generator import WorldModelGenerator

    return WorldModelGenerator.load(folder, "cuda" if torch.cuda.is_available() else "cpu", dtype, text_store)
