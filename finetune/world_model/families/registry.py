"""The families of world models, and the recognition of the family of a model folder."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import read_json

if TYPE_CHECKING:
    from driveforge.finetune.world_model.clip_encoder import ClipEncoder
    from driveforge.finetune.world_model.limits import ClipLimits
    from driveforge.finetune.world_model.model import WorldModel

# Module and class by family; a module is imported when a model of the family is loaded.
_CLASSES = {
    "tiny": ("tiny", "TinyWorldModel"),
    "wan": ("wan", "WanWorldModel"),
    "wan22": ("wan22", "Wan22WorldModel"),
}
# The file of a folder that driveforge saved, and that of a pipeline of diffusers.
_SAVED_FILE, _PIPELINE_FILE = "world_model.json", "model_index.json"
_ADVICE = "use an intact copy of the model"


def is_model_folder(folder: Path) -> bool:
    """Whether ``folder`` holds a model of any family, or a pipeline of diffusers."""
    return any((folder / name).is_file() for name in (_SAVED_FILE, _PIPELINE_FILE))


def recognize_family(folder: Path) -> str:
    """The family of the model in ``folder``, from ``world_model.json`` or ``model_index.json``.

    Raises UserError if it holds no model, or a model of an unknown family.
    """
    if (folder / _SAVED_FILE).is_file():
        family = _read(folder / _SAVED_FILE).get("family", "tiny")
    elif (folder / _PIPELINE_FILE).is_file():
        family = _recognize_pipeline(_read(folder / _PIPELINE_FILE))
    else:
        raise UserError(f"{folder} holds no model: {_SAVED_FILE} or {_PIPELINE_FILE} is missing")
    if family not in _CLASSES:
        raise UserError(f"{folder} holds a model of the family {family!r}; known families: {', '.join(_CLASSES)}")
    return str(family)


def load_world_model(folder: Path) -> "WorldModel":
    """The world model in ``folder``, of any family, in evaluation mode on the CPU."""
    return _find_class(recognize_family(folder)).from_pretrained(folder)


def load_on_meta(folder: Path) -> "WorldModel":
    """The world model in ``folder`` on the meta device, which takes no memory and reads no weights."""
    return _find_class(recognize_family(folder)).on_meta(folder)


def load_clip_encoder(folder: Path) -> "ClipEncoder":
    """The clip encoder of the model in ``folder``, which may hold a VAE of the tiny family only."""
    return _encoder_class(folder).load_encoder(folder)


def read_limits(folder: Path) -> "ClipLimits":
    """The lengths and sizes of clips that the model in ``folder`` takes."""
    return _encoder_class(folder).read_limits(folder)


def _encoder_class(folder: Path) -> "type[WorldModel]":
    return _find_class(recognize_family(folder) if is_model_folder(folder) else "tiny")


def _find_class(family: str) -> "type[WorldModel]":
    module, name = _CLASSES[family]
    found: type[WorldModel] = getattr(import_module(f"driveforge.finetune.world_model.families.{module}"), name)
    return found


def _recognize_pipeline(index: dict[str, Any]) -> str:
    """The family of a pipeline: the name of its class if it is unknown."""
    name = str(index.get("_class_name"))
    if name in ("WanPipeline", "WanImageToVideoPipeline"):
        is_wan22 = index.get("expand_timesteps") or index.get("boundary_ratio") is not None
        return "wan22" if is_wan22 else "wan"
    return name


def _read(path: Path) -> dict[str, Any]:
    record = read_json(path, _ADVICE)
    if not isinstance(record, dict):
        raise UserError(f"{path}: must be an object, got {type(record).__name__}; {_ADVICE}")
    return record
