"""Generators: the interface of a world-model family to generation and calibration, and its loader.

Another family needs three files: a module in ``finetune/world_model/`` with a class that implements ``Generator``, an
entry in ``_LOADERS``, and ``conf/model/NAME.yaml`` whose ``checkpoint`` is the model folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.scene import Clip, Scene

if TYPE_CHECKING:
    from driveforge.finetune.world_model.sampler_settings import SamplerSettings

# Files that identify the family of a model folder, and their key for it: ours, and that of a diffusers pipeline.
_FAMILY_KEYS = {"world_model.json": "family", "model_index.json": "_class_name"}
DEFAULT_FAMILY = "driveforge"


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


def load_generator(folder: Path) -> Generator:
    """Load the generator of the model in ``folder``, on a GPU if torch finds one.

    Raises UserError if the folder holds no model, or a model of an unknown family.
    """
    import torch

    family = read_family(folder)
    if family not in _LOADERS:
        raise UserError(f"{folder} holds a model of the family {family!r}; known families: {', '.join(_LOADERS)}")
    return _LOADERS[family](folder, "cuda" if torch.cuda.is_available() else "cpu")


def read_family(folder: Path) -> str:
    """The family of the model in ``folder``: ``family`` in world_model.json, or ``_class_name`` in model_index.json."""
    for name, key in _FAMILY_KEYS.items():
        if (folder / name).is_file():
            record: Any = read_json(folder / name, "use an intact copy of the model")
            family = record.get(key, DEFAULT_FAMILY) if isinstance(record, dict) else DEFAULT_FAMILY
            return str(family)
    raise UserError(f"{folder} holds no model: {' or '.join(_FAMILY_KEYS)} is missing")


def is_model_folder(folder: Path) -> bool:
    """Whether ``folder`` holds a model of any family."""
    return any((folder / name).is_file() for name in _FAMILY_KEYS)


def _load_driveforge(folder: Path, device: str) -> Generator:
    from driveforge.finetune.world_model.generator import WorldModelGenerator

    return WorldModelGenerator.load(folder, device)


# By family; a loader imports its module when it is called.
_LOADERS: dict[str, Callable[[Path, str], Generator]] = {DEFAULT_FAMILY: _load_driveforge}
