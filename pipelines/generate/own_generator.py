"""A generator of the user's own: the class that ``model.generator`` names, imported and checked.

The class implements ``Generator`` and is called with the path of ``model.checkpoint``, or None if that is ``base``, and
with the torch device. Its results are checked, since nothing here knows the model: at the first clip that has a wrong
shape, or that a second call does not repeat, the run ends.
"""

import importlib
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.config.build import with_suggestion
from driveforge.pipelines.generate.executors.interface import FatalError

_CLASS_NAME = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")
_DIGEST = re.compile(r"[A-Za-z0-9._-]{1,64}")


def import_generator_class(name: str, directory: str) -> type:
    """The class ``name``, ``package.module:Class``, from an installed package or a module in ``directory``.

    Raises UserError if it cannot be imported, or if its constructor or ``generate`` takes other arguments.
    """
    where = f"model.generator={shorten(name, 100)}"
    matched = _CLASS_NAME.fullmatch(name)
    if not matched:
        raise UserError(f"{where} must be package.module:Class")
    module = _import_module(matched[1], directory, where)
    found = getattr(module, matched[2], None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        problem = f"{where}: {getattr(module, '__file__', matched[1])} has no class {matched[2]}"
        raise UserError(with_suggestion(problem, matched[2], [key for key in classes if not key.startswith("_")]))
    generate = getattr(found, "generate", None)
    if not callable(generate):
        raise UserError(f"{where}: the class has no method generate(scene, first_frames, *, seed, settings)")
    try:
        inspect.signature(found).bind(None, "cpu")
        inspect.signature(generate).bind(None, None, None, seed=0, settings=None)
    except TypeError as error:
        raise UserError(
            f"{where}: {error}; it must have __init__(self, folder, device) and "
            "generate(self, scene, first_frames, *, seed, settings)"
        ) from error
    return found


def _import_module(name: str, directory: str, where: str) -> ModuleType:
    if directory not in sys.path:
        sys.path.append(directory)  # last, so that no file there replaces an installed package
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"{where} cannot be imported: {_describe(error)}") from error
        raise UserError(f"{where}: no module {error.name!r} in {directory} or among the installed packages") from error
    except Exception as error:
        raise UserError(f"{where} cannot be imported: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    """The type, message and location of an error in the user's code, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    location = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {shorten(error, 120)}{location}"


def load_own_generator(name: str, directory: str, folder: Path | None, device: str) -> "CheckedGenerator":
    """The generator of the class ``name`` for ``folder``; raises UserError if it cannot be created."""
    cls = import_generator_class(name, directory)
    try:
        generator = cls(folder, device)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"model.generator={name} cannot be loaded: {_describe(error)}") from error
    return CheckedGenerator(generator, name)


def check_digest(digest: object, name: str) -> str:
    """``digest`` of the class ``name``, which names files and rows; raises UserError if it is not such a text."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise UserError(
            f"model.generator={name}: digest must identify the weights by 1 to 64 of the characters A-Z, a-z, 0-9, "
            f"'.', '_' and '-', got {shorten(repr(digest))}"
        )
    return digest


class CheckedGenerator:
    """A generator of the user's own, with checks of every clip; the first clip of each process is generated twice.

    A class that cannot repeat a clip, such as a client of a service, says so by ``deterministic = False``.
    """

    def __init__(self, generator: Any, name: str) -> None:
        self._generator = generator
        self._where = f"model.generator={name}"
        self._must_repeat = bool(getattr(generator, "deterministic", True))
        self.digest = check_digest(getattr(generator, "digest", None), name)

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        """The clip of ``scene``; raises FatalError if the class returns another shape, or another clip when repeated.

        Errors of other types are those of one clip.
        """

        def generated() -> Clip:
            return self._check("generate", scene, self._generator.generate, first_frames, seed=seed, settings=settings)

        clip = generated()
        if self._must_repeat:
            differing = float((generated().frames != clip.frames).mean())
            if differing > 0:
                raise FatalError(
                    f"{self._where}: {scene.clip_id}: two calls of generate with the same arguments differ in "
                    f"{100 * differing:.2g} % of the values; derive all noise from seed, or set deterministic = False"
                )
            self._must_repeat = False
        return clip

    def reconstruct(self, clip: Clip) -> Clip:
        """``clip`` through the codec of the model; raises FatalError if that returns another shape."""
        return self._check("reconstruct", clip.scene, lambda _: self._generator.reconstruct(clip))

    def _check(self, method: str, scene: Scene, call: Any, *args: Any, **keywords: Any) -> Clip:
        """The clip of a call with ``scene``, as a clip of exactly that scene."""
        try:
            clip = call(scene, *args, **keywords)
            if not isinstance(clip, Clip):
                raise UserError(f"{scene.clip_id}: must return a driveforge.Clip, got {type(clip).__name__}")
            return Clip(scene=scene, frames=clip.frames)
        except UserError as error:
            raise FatalError(f"{self._where}: {method}: {error}") from error
