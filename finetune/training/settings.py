"""Settings of a training run, and of a fine-tune."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from driveforge.datasets.settings import Range
from driveforge.finetune.strategies.names import StrategyName

# Settings that do not affect the weights, except for rounding.
_WITHOUT_EFFECT = ("checkpoint_every", "num_workers", "parallel", "gradient_checkpointing")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Training with AdamW, linear warm-up and an exponential moving average of the weights."""

    steps: Annotated[int, "optimizer steps", Range(1)]
    batch_size: Annotated[int, "clips per batch", Range(1)]
    accumulate_grad_batches: Annotated[int, "batches per optimizer step", Range(1)]
    learning_rate: Annotated[float, "peak learning rate", Range(0)]
    warmup_steps: Annotated[int, "optimizer steps of linear warm-up", Range(0)]
    lr_schedule: Annotated[
        Literal["constant", "cosine"], "learning-rate schedule after warm-up; cosine: to 3 % at the end"
    ]
    weight_decay: Annotated[float, "weight decay of AdamW", Range(0)]
    ema_decay: Annotated[float, "EMA decay of the averaged weights", Range(0, 1)]
    max_grad_norm: Annotated[float, "gradient clipping by norm; 0: no clipping", Range(0)]
    precision: Annotated[Literal["32", "bf16"], "bf16: mixed precision, if the hardware supports it"]
    compile: Annotated[bool, "torch.compile of the transformer's blocks; needs a C++ compiler"]
    gradient_checkpointing: Annotated[bool, "compute activations again in the backward pass, to save memory"]
    parallel: Annotated[
        Literal["ddp", "fsdp"],
        "under torchrun, what each process holds; ddp: the model; fsdp: a part of it and of the optimizer",
    ]
    num_workers: Annotated[int, "processes that load batches; 0: the training process", Range(0)]
    checkpoint_every: Annotated[int, "optimizer steps", Range(1)]
    continuation_prob: Annotated[
        float, "share of samples that continue from a few frames without layout and pose", Range(0, 1)
    ]
    context_noise: Annotated[
        float,
        "highest level of noise in given frames, which prepares a model for its own frames in long clips, such as "
        "0.333; 0: none",
        Range(0, 1),
    ]
    seed: Annotated[int, "seed of data order and noise", Range(0)]

    @property
    def num_batches(self) -> int:
        return self.steps * self.accumulate_grad_batches

    def training_record(self) -> dict[str, Any]:
        """The training settings that the weights depend on, as plain values."""
        names = [name for name in TrainingSettings.__dataclass_fields__ if name not in _WITHOUT_EFFECT]
        record = asdict(self)
        if not self.context_noise:  # then a run is resumed from checkpoints of the time before there was this setting
            names.remove("context_noise")
        return {name: record[name] for name in names}


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneSettings(TrainingSettings):
    """Fine-tuning of the world model on the driving data."""

    strategy: Annotated[StrategyName, "strategy against forgetting; naive: none"]
    strategy_weight: Annotated[
        float | None,
        "weight of the strategy's loss term, or of the tuned weights in interpolate; null: the strategy's default",
        Range(0),
    ]
    adapter: Annotated[Literal["lora", "full"], "lora: low-rank adapters; full: all weights"]
    lora_rank: Annotated[int, "rank of the lora adapter", Range(1)]
    lora_start: Annotated[
        Path | None, "folder of a fine-tuned model, whose LoRA files training continues; null: a new adapter"
    ]
