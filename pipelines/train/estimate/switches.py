"""Settings that lower the memory of a fine-tune."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.pipelines.train.estimate.step import DeviceKind, Setup

# Settings of ``finetune`` by name.
Changes = Mapping[str, Any]


def make_setup(settings: FineTuneSettings, device: DeviceKind, gpus: int) -> Setup:
    """How a fine-tune with ``settings`` uses ``gpus`` devices."""
    is_sharded = gpus > 1 and settings.parallel == "fsdp"
    return Setup(
        # The steps of the estimate run in one process, also under torchrun.
        settings=replace(settings, parallel="ddp"),
        device=device,
        gpus=gpus,
        gradient_checkpointing=settings.gradient_checkpointing,
        is_sharded=is_sharded,
    )


def list_switches(setup: Setup) -> Iterator[Changes]:
    """The settings that lower the memory of ``setup``, those that do not change the result first."""
    if not setup.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    if setup.gpus > 1 and not setup.is_sharded:
        yield {"parallel": "fsdp"}
    if setup.clips_per_gpu > 1:
        batches = setup.settings.accumulate_grad_batches * setup.clips_per_gpu
        yield {"batch_size": setup.gpus, "accumulate_grad_batches": batches}
    if setup.settings.precision == "32":
        yield {"precision": "bf16"}
    if setup.settings.adapter == "full":
        yield {"adapter": "lora"}


def apply_changes(setup: Setup, changes: Changes) -> Setup:
    """``setup`` with ``changes``."""
    of_settings = {name: value for name, value in changes.items() if name not in ("gradient_checkpointing", "parallel")}
    return replace(
        setup,
        settings=replace(setup.settings, **of_settings),
        gradient_checkpointing=changes.get("gradient_checkpointing", setup.gradient_checkpointing),
        is_sharded=changes.get("parallel", "fsdp" if setup.is_sharded else "ddp") == "fsdp",
    )


def format_changes(changes: Changes) -> str:
    """``changes`` as on the command line."""
    return " ".join(f"finetune.{name}={str(value).lower()}" for name, value in changes.items())


def find_fitting(setup: Setup, memory: Callable[[Changes], float], limit: float) -> Changes | None:
    """Changes of ``setup`` with which ``memory`` is at most ``limit``; None if it is more with all of them.

    One that suffices, or else as many as are needed, in the order of ``list_switches``.
    """
    found = list(list_switches(setup))
    together = [dict(item for changes in found[: n + 1] for item in changes.items()) for n in range(1, len(found))]
    return next((changes for changes in [*found, *together] if memory(changes) <= limit), None)
