"""The families of world models, and the recognition of the family of a model folder."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from driveforge.finetune.world_model.clip_encoder import ClipEncoder
    from driveforge.finetune.world_model.limits import ClipLimits
    from driveforge.finetune.world_model.model import WorldModel

# The folder of text embeddings, beside the latent caches.
TEXT_STORE = "text"
Dtype = Literal["float32", "bfloat16"]
# Module and class by family; a module is imported when a model of the family is loaded.
_CLASSES = {
    "tiny": ("tiny", "TinyWorldModel"),
    "wan": ("wan", "WanWorldModel"),
    "wan22": ("wan22", "Wan22WorldModel"),
    "cosmos2": ("cosmos2", "Cosmos2WorldModel"),
}
_PIPELINES = {
    "WanPipeline": "wan",
    "WanImageToVideoPipeline": "wan",
    "Cosmos2VideoToWorldPipeline": "cosmos2",
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
        family = _recognize_pipeline(folder)
    else:
        raise UserError(f"{folder} holds no model: {_SAVED_FILE} or {_PIPELINE_FILE} is missing")
    if family not in _CLASSES:
        raise UserError(f"{folder} holds a model of the family {family!r}; known families: {', '.join(_CLASSES)}")
    return str(family)


def load_world_model(folder: Path, dtype: Dtype = "float32", text_store: Path | None = None) -> "WorldModel":
    """The world model in ``folder``, of any family, in evaluation mode on the CPU.

    ``text_store`` is the folder where embeddings of captions are kept, so that each is computed once.
    """
    model = _find_class(recognize_family(folder)).from_pretrained(folder, _torch_dtype(dtype))
    if text_store is not None:
        model.use_text_store(text_store)
    return model


def embed_captions(folder: Path, captions: "Iterable[str]", dtype: Dtype, text_store: Path) -> None:
    """Store the embeddings of ``captions`` and of an empty one, if the family of the model has a text encoder."""
    _encoder_class(folder).embed_captions(folder, captions, _torch_dtype(dtype), text_store)


def load_on_meta(folder: Path) -> "WorldModel":
    """The world model in ``folder`` on the meta device, which takes no memory and reads no weights."""
    return _find_class(recognize_family(folder)).on_meta(folder)


def load_clip_encoder(folder: Path) -> "ClipEncoder":
    """The clip encoder of the model in ``folder``, which may hold a VAE of the tiny family only."""
    return _encoder_class(folder).load_encoder(folder)


def compute_encoder_digest(folder: Path) -> str:
    """The digest of all that the latents and conditions of a clip depend on, except the clip."""
    return _encoder_class(folder).compute_encoder_digest(folder)


def read_limits(folder: Path) -> "ClipLimits":
    """The lengths and sizes of clips that the model in ``folder`` takes."""
    return _encoder_class(folder).read_limits(folder)


def _torch_dtype(dtype: Dtype) -> "torch.dtype":
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


def _encoder_class(folder: Path) -> "type[WorldModel]":
    return _find_class(recognize_family(folder) if is_model_folder(folder) else "tiny")


def _find_class(family: str) -> "type[WorldModel]":
    module, name = _CLASSES[family]
    found: type[WorldModel] = getattr(import_module(f"driveforge.finetune.world_model.families.{module}"), name)
    return found


def _recognize_pipeline(folder: Path) -> str:
    index = _read(folder / _PIPELINE_FILE)
    name = index.get("_class_name")
    if name not in _PIPELINES:
        raise UserError(f"{folder} holds a {shorten(name)}; supported pipelines: {', '.join(_PIPELINES)}")
    has_wan22_key = index.get("expand_timesteps") or index.get("boundary_ratio") is not None
    return "wan22" if _PIPELINES[name] == "wan" and has_wan22_key else _PIPELINES[name]


def _read(path: Path) -> dict[str, Any]:
    record = read_json(path, _ADVICE)
    if not isinstance(record, dict):
        raise UserError(f"{path}: must be an object, got {type(record).__name__}; {_ADVICE}")
    return record
