"""What a fine-tune and a generated clip take of a device, by part.

Weights, gradients, the two moments of AdamW and the averaged weights are in single precision. With several devices, DDP
adds buckets as large as the gradients; FSDP divides those parts among the devices and gathers the weights of two blocks
at a time (one in use, one on its way) and those outside of blocks, and holds the whole gradients of one block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from driveforge.finetune.training.adapters import set_trainable
from driveforge.finetune.world_model.families.registry import load_on_meta
from driveforge.pipelines.train.estimate.devices import GIB
from driveforge.pipelines.train.estimate.fake_model import ClipSize
from driveforge.pipelines.train.estimate.step import DeviceKind, Phase, SamplingCost, Setup, StepCost, training_cost

# The CUDA context, and workspaces of cuBLAS and cuDNN.
CUDA_BYTES = 1.0 * GIB
_MAX_BATCH = 2**16


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelBytes:
    """Bytes in single precision of all weights, of the trained ones, of one block, and of those outside of blocks."""

    all: int
    trained: int
    block: int
    outside: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes of a device by part at the peak of a step, which is in ``phase``."""

    parts: dict[str, float]
    phase: str

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The memory of a device, and its FLOPs in an optimizer step."""

    memory: Memory
    flops: float


def estimate_training(checkpoint: Path, size: ClipSize, setup: Setup) -> Training:
    """A fine-tune of the model in ``checkpoint`` on clips of ``size``."""
    cost = training_cost(checkpoint, size, setup, setup.clips_per_gpu)
    return Training(
        memory=peak_memory(count_bytes(checkpoint, setup), cost, setup),
        flops=cost.flops * setup.settings.accumulate_grad_batches,
    )


def count_bytes(checkpoint: Path, setup: Setup) -> ModelBytes:
    """The bytes of the model in ``checkpoint``, with its adapter."""
    model = load_on_meta(checkpoint)
    set_trainable(model, setup.settings.adapter, setup.settings.lora_rank)
    sizes = [sum(p.numel() for p in block.parameters()) for blocks in model.block_lists() for block in blocks]
    total = sum(p.numel() for p in model.parameters())
    return ModelBytes(
        all=4 * total,
        trained=4 * sum(p.numel() for p in model.parameters() if p.requires_grad),
        block=4 * max(sizes),
        outside=4 * (total - sum(sizes)),
    )


def peak_memory(model: ModelBytes, cost: StepCost, setup: Setup) -> Memory:
    """The memory in the phase of the step that takes most."""
    memories = [
        Memory(parts=_parts_in_phase(name, model, phase, setup), phase=name) for name, phase in cost.phases.items()
    ]
    return max(memories, key=lambda memory: memory.total)


def _parts_in_phase(name: str, model: ModelBytes, phase: Phase, setup: Setup) -> dict[str, float]:
    shards = setup.gpus if setup.is_sharded else 1
    # The temporaries of the optimizer are as large as the weights that it updates.
    activations = phase.activations / (shards if name == "optimizer" else 1)
    return {
        "weights": model.all / shards,
        "gradients": model.trained / shards if setup.is_sharded else phase.gradients,
        "optimizer": 2 * model.trained / shards,
        "EMA": model.trained / shards,
        "activations": activations,
        "communication": 0 if name == "optimizer" and setup.is_sharded else _communication(model, setup),
        "CUDA": CUDA_BYTES if setup.device == "cuda" else 0,
    }


def _communication(model: ModelBytes, setup: Setup) -> float:
    """Buckets of DDP, or what FSDP gathers."""
    if setup.gpus == 1:
        return 0
    if not setup.is_sharded:
        return model.trained
    in_block = 0.5 if setup.settings.precision == "bf16" else 1
    return in_block * 3 * model.block + model.outside


def generation_memory(cost: SamplingCost, device: DeviceKind) -> Memory:
    """The memory of generating a clip: sampling and decoding take turns."""
    activations, phase = max((cost.model_activations, "sampling"), (cost.codec_activations, "codec"))
    parts = {
        "weights": cost.model_weights,
        "activations": activations,
        "codec": cost.codec_weights,
        "CUDA": CUDA_BYTES if device == "cuda" else 0,
    }
    return Memory(parts=parts, phase=phase)


def find_largest_batch(checkpoint: Path, size: ClipSize, setup: Setup, limit: float) -> int:
    """The most clips of all devices that take ``limit`` bytes of each or less; 0 if a clip on each takes more.

    Memory is linear in the number of clips, from two on: with one, only one of two experts has gradients. It is
    estimated for two numbers of clips, and the most is bisected.
    """
    model, start = count_bytes(checkpoint, setup), max(2, setup.clips_per_gpu)
    cost, larger = (training_cost(checkpoint, size, setup, count) for count in (start, start + 1))

    def fits(clips: int) -> bool:
        return peak_memory(model, cost.extend(larger, clips - start), setup).total <= limit

    return setup.gpus * bisect_most(fits)


def bisect_most(fits: Callable[[int], bool]) -> int:
    """The largest number up to ``_MAX_BATCH`` that ``fits``, if all smaller ones do; 0 if 1 does not."""
    low, high = 0, _MAX_BATCH + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
