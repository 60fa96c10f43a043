"""The trainable weights of a fine-tune: all of them, or low-rank adapters of frozen ones."""

from typing import Literal

from peft import LoraConfig

from driveforge.finetune.world_model.model import WorldModel


def set_trainable(model: WorldModel, adapter: Literal["lora", "full"], rank: int) -> None:
    """Set ``requires_grad``: all weights, or LoRA of ``rank`` (Hu et al. 2021, arXiv 2106.09685) and the embeddings."""
    if adapter == "full":
        model.requires_grad_(True)
        return
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(model.lora_targets))
    for transformer in model.transformers.values():
        transformer.requires_grad_(False)
        transformer.add_adapter(config)


def merge_adapter(model: WorldModel) -> None:
    """Merge a LoRA into the weights that it adapts, so that the saved model is loaded like any other."""
    for transformer in model.transformers.values():
        if getattr(transformer, "peft_config", None):
            transformer.fuse_lora()
            transformer.unload_lora()
