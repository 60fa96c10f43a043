"""The trainable weights of a fine-tune: all of them, or low-rank adapters of frozen ones."""

from pathlib import Path
from typing import Literal

from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from driveforge.finetune.world_model.model import WorldModel

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


def merge_adapter(model: WorldModel) -> None:
    """Merge a LoRA into the weights that it adapts, so that the saved model is loaded like any other."""
    for transformer in model.transformers.values():
        if getattr(transformer, "peft_config", None):
            transformer.fuse_lora()
            transformer.unload_lora()
