"""The command ``estimate``: what a fine-tune and a generated clip take of a device, and whether that fits."""

import argparse
from collections.abc import Callable
from pathlib import Path

from driveforge.datasets.progress import show_status
from driveforge.finetune.world_model.families.registry import load_on_meta, read_limits
from driveforge.finetune.world_model.limits import require_encodable
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import inpaint_levels
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.registry.models import resolve_checkpoint
from driveforge.pipelines.train.estimate.devices import find_device
from driveforge.pipelines.train.estimate.fake_model import ClipSize, blank_scene
from driveforge.pipelines.train.estimate.plan import (
    estimate_training,
    find_largest_batch,
    generation_memory,
)
from driveforge.pipelines.train.estimate.report import Estimate, Switched, print_estimate
from driveforge.pipelines.train.estimate.step import Setup, sampling_cost
from driveforge.pipelines.train.estimate.switches import (
    Changes,
    apply_changes,
    find_fitting,
    list_switches,
    make_setup,
)


def main(config: Config, args: argparse.Namespace) -> int:
    checkpoint, size = resolve_checkpoint(config), ClipSize.of(config.data)
    require_encodable([blank_scene(size)], read_limits(checkpoint))
    with show_status("estimating"):
        estimate = make_estimate(config, checkpoint, size)
    print_estimate(estimate)
    return 0 if estimate.fits else 1


def make_estimate(config: Config, checkpoint: Path, size: ClipSize) -> Estimate:
    """The estimate of the fine-tune and the generation that ``config`` describes."""
    device, utilization = find_device(config.estimate), config.estimate.utilization
    setup = make_setup(config.finetune, config.estimate.device, config.estimate.gpus)

    def switched(changes: Changes) -> Switched:
        changed = apply_changes(setup, changes)
        training = estimate_training(checkpoint, size, changed)
        rate = utilization * device.matmul[changed.settings.precision]
        return Switched(changes=changes, memory=training.memory, seconds=training.flops / rate)

    sampling = sampling_cost(checkpoint, size, setup.device)
    clip_flops = sampling.codec_flops + sampling.model_flops * _count_evaluations(checkpoint, config.generate.sampler)
    now = switched({})
    fits = now.memory.total <= device.memory
    return Estimate(
        checkpoint=checkpoint,
        size=size,
        setup=setup,
        device=device,
        utilization=utilization,
        training=now,
        generation=generation_memory(sampling, setup.device),
        clip_seconds=clip_flops / (utilization * device.matmul["32"]),
        largest_batch=find_largest_batch(checkpoint, size, setup, device.memory) if fits else 0,
        switches=tuple(switched(changes) for changes in list_switches(setup)),
        advice=None if fits else _find_advice(setup, switched, device.memory),
    )


def _find_advice(setup: Setup, switched: Callable[[Changes], Switched], limit: float) -> Switched | None:
    changes = find_fitting(setup, lambda changes: switched(changes).memory.total, limit)
    return None if changes is None else switched(changes)


def _count_evaluations(checkpoint: Path, sampler: SamplerSettings) -> int:
    """The evaluations of the model for a clip with a first frame."""
    solver = load_on_meta(checkpoint).make_solver(sampler, has_frames=True)
    steps = len(solver.levels) + len(inpaint_levels(sampler, solver.start_level))
    return steps * (1 if sampler.guidance_scale == 1 else 2)
