"""One training step and one sampling step of fake tensors: the peak of live bytes in each phase, and the FLOPs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from driveforge.finetune.training.adapters import set_trainable
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.families.registry import load_on_meta
from driveforge.finetune.world_model.model import WorldModel
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.pipelines.train.estimate.fake_model import (
    ClipSize,
    blank_batch,
    blank_clip,
    keep_blocks,
    materialize,
    num_blocks,
    use_cuda_norms,
)
from driveforge.pipelines.train.estimate.modes import OTHER, AssumedValues, FlopCount, LiveMemory

DeviceKind = Literal["cuda", "cpu"]
STATE, GRADIENTS = "state", "gradients"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """How a model is trained: on ``gpus`` devices, with ``settings``.

    ``gradient_checkpointing`` computes the activations of a block again in the backward pass. ``is_sharded`` divides
    weights, gradients, optimizer state and their average among the devices (FSDP); otherwise each holds all (DDP).
    """

    settings: FineTuneSettings
    device: DeviceKind
    gpus: int
    gradient_checkpointing: bool
    is_sharded: bool

    @property
    def clips_per_gpu(self) -> int:
        return -(-self.settings.batch_size // self.gpus)


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """The peak of a phase of a step in bytes: live ``gradients``, and ``activations`` with all temporaries."""

    gradients: float
    activations: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """The phases of a training step by name, and the FLOPs of one batch on one device."""

    phases: dict[str, Phase]
    flops: float

    def extend(self, larger: "StepCost", times: int) -> "StepCost":
        """This cost plus ``times`` its difference to a ``larger`` one."""

        def add(start: float, end: float) -> float:
            return start + times * (end - start)

        phases = {
            name: Phase(
                gradients=add(phase.gradients, larger.phases[name].gradients),
                activations=add(phase.activations, larger.phases[name].activations),
            )
            for name, phase in self.phases.items()
        }
        return StepCost(phases=phases, flops=add(self.flops, larger.flops))


@cache
def training_cost(checkpoint: Path, size: ClipSize, setup: Setup, batch_size: int) -> StepCost:
    """The cost of a step of the model in ``checkpoint`` with ``batch_size`` clips on a device.

    Measured with two and with three blocks, and extrapolated: all blocks are equal, so everything is linear in their
    number.
    """
    full = num_blocks(load_on_meta(checkpoint))
    if full <= 3:
        return measure_training(checkpoint, size, setup, batch_size, full)
    two, three = (measure_training(checkpoint, size, setup, batch_size, count) for count in (2, 3))
    return two.extend(three, full - 2)


def measure_training(checkpoint: Path, size: ClipSize, setup: Setup, batch_size: int, blocks: int) -> StepCost:
    """The cost of a step with the first ``blocks`` blocks of every transformer."""
    model = _load_blocks(checkpoint, blocks, setup.device)
    clip, slots = blank_clip(model, size), torch.arange(batch_size)
    make_trainable(model, setup)
    with _fake_tensors():
        materialize(model)
        module = WorldModelModule(model, setup.settings)
        return run_step(module, clip, slots, setup)


def _load_blocks(checkpoint: Path, blocks: int, device: DeviceKind) -> WorldModel:
    model = load_on_meta(checkpoint)
    keep_blocks(model, blocks)
    if device == "cuda":
        use_cuda_norms(model)
    return model


def make_trainable(model: WorldModel, setup: Setup) -> None:
    """Set what ``setup`` says of the model itself; it may be on the meta device."""
    set_trainable(model.train(), setup.settings.adapter, setup.settings.lora_rank)
    if setup.gradient_checkpointing:
        for transformer in model.transformers.values():
            transformer.enable_gradient_checkpointing()
    if setup.is_sharded and setup.settings.precision == "bf16":
        # FSDP gathers the weights of a block in bf16.
        for blocks in model.block_lists():
            for parameter in blocks.parameters():
                parameter.data = parameter.data.to(torch.bfloat16)


def run_step(module: WorldModelModule, clip: ClipTensors, slots: Tensor, setup: Setup) -> StepCost:
    """Run one step as Lightning does, after steps that have filled the optimizer's state; the tensors may be real.

    Lightning frees the gradients of the last step between the forward and the backward pass.
    """
    memory, flops = LiveMemory(), FlopCount()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = module.configure_optimizers()["optimizer"]
    _fill_optimizer(optimizer, parameters)
    memory.label([*module.parameters(), *module.buffers(), *module.ema.shadow_params], STATE)
    memory.label((t for state in optimizer.state.values() for t in state.values()), STATE)
    memory.label((p.grad for p in parameters if p.grad is not None), GRADIENTS)
    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(lambda p: memory.label([p.grad], GRADIENTS))
    peaks = {}
    with memory, flops, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module logs, and has no trainer
        batch = blank_batch(clip, slots)
        autocast = torch.autocast("cpu", torch.bfloat16, cache_enabled=not setup.is_sharded)
        with autocast if setup.settings.precision == "bf16" else nullcontext():
            loss = module.training_step(batch, 0)
        peaks["forward"] = memory.peak
        if setup.settings.accumulate_grad_batches == 1:
            optimizer.zero_grad()
        memory.reset_peak()
        torch.autograd.backward(loss)
        del loss
        peaks["backward"] = memory.peak
        memory.reset_peak()
        if setup.settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(parameters, setup.settings.max_grad_norm)
        optimizer.step()
        module.ema.step(parameters)
        peaks["optimizer"] = memory.peak
    return StepCost(
        phases={name: Phase(gradients=peak[GRADIENTS], activations=peak[OTHER]) for name, peak in peaks.items()},
        flops=flops.total,
    )


def _fill_optimizer(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingCost:
    """Peaks of activations in bytes and FLOPs: of one evaluation of the model, and of the codec for one clip.

    The codec encodes the warped frames and the layout, and decodes the result. Weights are in bytes, too.
    """

    model_weights: float
    codec_weights: float
    model_activations: float
    model_flops: float
    codec_activations: float
    codec_flops: float


def sampling_cost(checkpoint: Path, size: ClipSize, device: DeviceKind) -> SamplingCost:
    """The cost of generating a clip in single precision, as generation computes."""
    model = load_on_meta(checkpoint)
    full = num_blocks(model)
    counts = [full] if full <= 3 else [2, 3]
    runs = [_measure_evaluation(checkpoint, size, device, count) for count in counts]
    codec_activations, codec_flops = _measure_codec(checkpoint, size)
    return SamplingCost(
        model_weights=_count_bytes(model),
        codec_weights=_count_bytes(_codec_of(model).vae),
        model_activations=runs[-1][0],
        model_flops=runs[-1][1] + (full - counts[-1]) * (runs[-1][1] - runs[0][1]),
        codec_activations=codec_activations,
        codec_flops=codec_flops,
    )


def _measure_evaluation(checkpoint: Path, size: ClipSize, device: DeviceKind, blocks: int) -> tuple[float, float]:
    model = _load_blocks(checkpoint, blocks, device)
    clip = blank_clip(model, size)
    with _fake_tensors(), torch.no_grad():
        materialize(model)
        batch = blank_batch(clip, torch.arange(1))
        with _counted([*model.parameters(), *model.buffers()]) as (memory, flops):
            tensors = ClipTensors.from_mapping(batch.tensors)
            conditions = model.batch_conditions(tensors, batch.domain, batch.caption, size.num_views)
            model(conditions.warped, torch.ones(1), conditions)
        return memory.peak[OTHER], flops.total


def _measure_codec(checkpoint: Path, size: ClipSize) -> tuple[float, float]:
    codec = _codec_of(load_on_meta(checkpoint))
    with _fake_tensors():
        materialize(codec.vae)
        with _counted([*codec.vae.parameters(), *codec.vae.buffers()]) as (memory, flops):
            frames = torch.zeros(1, size.num_frames, size.height, size.width, 3, dtype=torch.uint8)
            latents = codec.encode(frames)
            encoding = flops.total
            codec.decode(latents.expand(size.num_views, *latents.shape[1:]))
        decoding = flops.total - encoding
    return memory.peak[OTHER], 2 * size.num_views * encoding + decoding


def _codec_of(model: WorldModel) -> WanCodec:
    assert isinstance(model.codec, WanCodec), "every family has one"
    return model.codec


def _count_bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


@contextmanager
def _counted(state: list[Tensor]) -> Iterator[tuple[LiveMemory, FlopCount]]:
    memory, flops = LiveMemory(), FlopCount()
    memory.label(state, STATE)
    with memory, flops:
        yield memory, flops


@contextmanager
def _fake_tensors() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True), AssumedValues():
        yield
