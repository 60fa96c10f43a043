"""The trainable weights of a fine-tune: all of them, or low-rank adapters of frozen ones."""

from typing import Literal

from peft import LoraConfig

from driveforge.finetune.world_model.model import WorldModel

# The attention and feed-forward layers of every Wan block.
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")


def set_trainable(model: WorldModel, adapter: Literal["lora", "full"], rank: int) -> None:
    """Set ``requires_grad``: all weights, or LoRA of ``rank`` (Hu et al. 2021, arXiv 2106.09685) and the embeddings."""
    if adapter == "full":
        model.requires_grad_(True)
        return
    model.transformer.requires_grad_(False)
    model.transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS)))


def merge_adapter(model: WorldModel) -> None:
    """Merge a LoRA into the weights that it adapts, so that the saved model is loaded like any other."""
    if getattr(model.transformer, "peft_config", None):
        model.transformer.fuse_lora()
        model.transformer.unload_lora()
