"""The trainable weights of a fine-tune: all of them, or low-rank adapters of frozen ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.model import WorldModel
from driveforge.finetune.world_model.serialization import load_tensors, read_shapes

# LoRA weights by the name of the transformer and of the weight.
Adapters = dict[str, dict[str, Tensor]]
LORA_FILES = {
    "transformer": "pytorch_lora_weights.safetensors",
    "transformer_2": "pytorch_lora_weights_2.safetensors",
}


def set_trainable(model: WorldModel, adapter: Literal["lora", "full"], rank: int) -> None:
    """Set ``requires_grad``: all weights, or LoRA of ``rank`` (Hu et al. 2021, arXiv 2106.09685) and the embeddings."""
    if adapter == "full":
        model.requires_grad_(True)
        return
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(model.lora_targets))
    for transformer in model.transformers.values():
        transformer.requires_grad_(False)
        transformer.add_adapter(config)


def copy_adapters(model: WorldModel) -> Adapters:
    """The weights of the LoRA of every transformer, under the names of peft; empty without a LoRA."""
    adapted = {name: part for name, part in model.transformers.items() if getattr(part, "peft_config", None)}
    return {
        name: {key: value.detach().cpu().clone() for key, value in get_peft_model_state_dict(part).items()}
        for name, part in adapted.items()
    }


def save_adapters(adapters: Adapters, directory: Path) -> None:
    """Write LoRA files of diffusers, which ``pipeline.load_lora_weights`` reads.

    That of ``transformer_2`` is a file of its own, for ``load_into_transformer_2=True``.
    """
    for name, weights in adapters.items():
        path = directory / LORA_FILES[name]
        tensors = {f"transformer.{key}": value.contiguous() for key, value in weights.items()}
        save_file(tensors, path, metadata={"format": "pt"})


def load_adapters(model: WorldModel, directory: Path) -> None:
    """Set the LoRA of every transformer to the files that ``save_adapters``, or a pipeline of diffusers, wrote.

    Raises UserError if one is missing, or was trained with another rank or for another model.
    """
    for name, part in model.transformers.items():
        path = directory / LORA_FILES[name]
        own = get_peft_model_state_dict(part)
        expected = {f"transformer.{key}": tuple(value.shape) for key, value in own.items()}
        found = read_shapes(path)
        _require_same_adapter(path, found, expected)
        weights = load_tensors(path, expected)
        set_peft_model_state_dict(part, {key: weights[f"transformer.{key}"] for key in own})


def _require_same_adapter(
    path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    shared = [key for key in expected if key in found]
    if len(shared) < len(expected) or len(found) > len(expected):
        raise UserError(
            f"{path}: is the LoRA of another model: {len(shared)} of its {len(found)} weights fit the "
            f"{len(expected)} of this one; give the LoRA of a fine-tune from the same checkpoint"
        )
    # A of a LoRA is (rank, inputs).
    first = next(key for key in expected if key.endswith("lora_A.weight"))
    if found[first][0] != expected[first][0]:
        raise UserError(
            f"{path}: has rank {found[first][0]}, finetune.lora_rank is {expected[first][0]}; set "
            f"finetune.lora_rank={found[first][0]}"
        )


def merge_adapter(model: WorldModel) -> None:
    """Merge a LoRA into the weights that it adapts, so that the saved model is loaded like any other."""
    for transformer in model.transformers.values():
        if getattr(transformer, "peft_config", None):
            transformer.fuse_lora()
            transformer.unload_lora()
