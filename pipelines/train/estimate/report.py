"""The printed estimate: a line per part and per switch, and the verdict."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import get_console
from rich.table import Table

from driveforge.finetune.world_model.families.registry import recognize_family
from driveforge.pipelines.console import plain_text, print_result
from driveforge.pipelines.train.estimate.devices import GIB, Device
from driveforge.pipelines.train.estimate.fake_model import ClipSize
from driveforge.pipelines.train.estimate.plan import Memory
from driveforge.pipelines.train.estimate.step import Setup
from driveforge.pipelines.train.estimate.switches import Changes, format_changes

_PARTS = ("weights", "gradients", "optimizer", "EMA", "activations", "communication", "codec", "CUDA")
# Strategies that hold nothing beside the model; the others keep further copies of weights.
_PLAIN_STRATEGIES = ("naive", "replay", "joint", "interpolate")


@dataclass(frozen=True, kw_only=True, slots=True)
class Switched:
    """A fine-tune with ``changes`` of its settings: memory of a device, and seconds of an optimizer step."""

    changes: Changes
    memory: Memory
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Everything that is printed. ``advice`` is None if the fine-tune fits, or if no change makes it fit.

    ``largest_batch`` counts the clips of all devices, ``clip_seconds`` are those of generating one on one device.
    """

    checkpoint: Path
    size: ClipSize
    setup: Setup
    device: Device
    utilization: float
    training: Switched
    generation: Memory
    clip_seconds: float
    largest_batch: int
    switches: tuple[Switched, ...]
    advice: Switched | None

    @property
    def fits(self) -> bool:
        return self.training.memory.total <= self.device.memory


def print_estimate(estimate: Estimate) -> None:
    get_console().print(_part_table(estimate))
    if estimate.switches:
        get_console().print(_switch_table(estimate))
    for line in [*_assumptions(estimate), *verdict(estimate)]:
        print_result(line)


def verdict(estimate: Estimate) -> Iterator[str]:
    """Whether the fine-tune fits, the largest batch, and what to change if it does not fit."""
    device, total = estimate.device, estimate.training.memory.total
    where = f"in the {device.memory / GIB:.1f} GiB of {device.name}"
    if estimate.fits:
        yield f"fits {where}: {total / GIB:.1f} GiB"
    elif estimate.advice is None:
        yield (
            f"does not fit {where}: {total / GIB:.1f} GiB, and no setting of finetune is enough: lower "
            "data.num_frames, data.height or data.width, or raise estimate.gpus"
        )
    else:
        memory = estimate.advice.memory.total
        yield (
            f"does not fit {where}: {total / GIB:.1f} GiB; switch on {format_changes(estimate.advice.changes)} "
            f"(saves {(total - memory) / GIB:.1f} GiB: {memory / GIB:.1f} GiB)"
        )
    if estimate.largest_batch:
        yield f"largest batch with these settings: finetune.batch_size={estimate.largest_batch}"


def _part_table(estimate: Estimate) -> Table:
    training, generation = estimate.training.memory, estimate.generation
    table = Table(title=plain_text(_title(estimate)), title_justify="left")
    table.add_column("GiB of a device")
    for name in ("finetune", "generate"):
        table.add_column(name, justify="right")
    for part in _PARTS:
        values = [memory.parts.get(part, 0.0) for memory in (training, generation)]
        if any(values):
            table.add_row(part, *(_gib(value) if value else "" for value in values))
    table.add_section()
    table.add_row("peak", _gib(training.total), _gib(generation.total))
    table.add_row("in", training.phase, generation.phase)
    table.add_row("time", f"{estimate.training.seconds:.3g} s a step", f"{estimate.clip_seconds:.3g} s a clip")
    return table


def _switch_table(estimate: Estimate) -> Table:
    table = Table("with", title="settings that lower the memory", title_justify="left")
    for name in ("GiB", "saves", "s a step"):
        table.add_column(name, justify="right")
    for switched in estimate.switches:
        saved = estimate.training.memory.total - switched.memory.total
        values = (_gib(switched.memory.total), _gib(saved), f"{switched.seconds:.3g}")
        table.add_row(plain_text(format_changes(switched.changes)), *values)
    return table


def _title(estimate: Estimate) -> str:
    size, setup, settings = estimate.size, estimate.setup, estimate.setup.settings
    devices = f"{setup.gpus} x {estimate.device.name}" + (f" ({_parallel(setup)})" if setup.gpus > 1 else "")
    views = f"{size.num_views} views of " if size.num_views > 1 else ""
    clip = f"{views}{size.num_frames} frames of {size.height}x{size.width}"
    training = f"{settings.adapter}, {settings.precision}, batch of {settings.batch_size}"
    return f"{recognize_family(estimate.checkpoint)} {estimate.checkpoint}, {clip}, {training}, {devices}"


def _parallel(setup: Setup) -> str:
    return "fsdp" if setup.is_sharded else "ddp"


def _assumptions(estimate: Estimate) -> Iterator[str]:
    device, settings = estimate.device, estimate.setup.settings
    rate = device.matmul[settings.precision] / 1e12
    yield (
        f"time: {estimate.utilization:.0%} (estimate.utilization) of the matmul rate of {device.name}, {rate:.3g} "
        f"TFLOP/s in {settings.precision} ({device.source}); generation in 32; without transfers between devices"
    )
    yield "memory: attention without a matrix of tokens x tokens; without finetune.compile"
    if settings.strategy not in _PLAIN_STRATEGIES:
        yield f"finetune.strategy={settings.strategy} keeps further copies of weights, which are not counted"


def _gib(value: float) -> str:
    return f"{value / GIB:.2f}"
