"""The cost of replay per training step: ``python -m tests.benchmarks.replay_cost``.

The default model with random weights trains on batches of random latents of the same size, with the components of the
finetune stage. With replay, a share of each batch comes from a replay buffer on disk with four domains, and shares are
logged. Times are CPU seconds of one thread. Rounds alternate; medians over the steps of all rounds are compared.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch

from driveforge.datasets.domains import OTHER_DOMAINS
from driveforge.datasets.latents.cache import LatentCache, LatentSample, write_latents
from driveforge.finetune.training.loop import train
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.training.share_callbacks import ShareLogger
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import plan_loader
from driveforge.replay.plan import BatchPlan
from tests.benchmarks.finetune_speed import random_cache
from tests.defaults import fine_tune_settings

BATCH, FRAMES, CLIPS = 4, 5, 64


def clips(root: Path) -> list[LatentSample]:
    """Samples of ``FRAMES`` latent frames."""
    cache = random_cache(root)
    samples = [cache.sample(number % len(cache)) for number in range(CLIPS)]
    return [
        replace(
            sample,
            clip_id=f"c{number}",
            tensors={name: tensor[..., :FRAMES, :, :].clone() for name, tensor in sample.tensors.items()},
        )
        for number, sample in enumerate(samples)
    ]


def step_times(plan: BatchPlan, cache: LatentCache, buffer: ReplayBuffer | None, steps: int) -> list[float]:
    """CPU seconds ``(steps,)`` of the last steps."""
    times: list[float] = []

    def batches(start: int, rank: int, world_size: int) -> Iterator[Mapping[str, Any]]:
        for batch in plan_loader(plan, cache, buffer, start=start, stop=steps + 2):
            yield batch
            times.append(time.process_time())

    torch.manual_seed(0)
    settings = fine_tune_settings(steps=steps + 2, checkpoint_every=10 * steps, learning_rate=1e-3, precision="bf16")
    module = WorldModelModule(TinyWorldModel.from_config(TinyConfig()).train(), settings)
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        train(module, batches, Path(root), callbacks=[ShareLogger(lambda: plan)])
    return [after - before for before, after in pairwise(times)][-steps:]


def loading_time(plan: BatchPlan, cache: LatentCache, buffer: ReplayBuffer | None, batches: int = 1000) -> float:
    """CPU seconds to plan, look up and stack a batch, which is all that replay adds to a step."""
    start = time.process_time()
    for _ in plan_loader(plan, cache, buffer, start=0, stop=batches):
        pass
    return (time.process_time() - start) / batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        samples = clips(Path(folder, "longer"))
        cache = write_latents(Path(folder, "driving"), "key", samples)
        with ReplayBuffer(Path(folder, "buffer"), CLIPS) as buffer:
            for number, sample in enumerate(samples):
                buffer.add(replace(sample, domain=OTHER_DOMAINS[number % len(OTHER_DOMAINS)]))
        naive = BatchPlan(seed=0, batch_size=BATCH, share=0.0, pools={}, num_driving=len(cache))
        mixed = replace(naive, share=options.share, pools=buffer.sizes)
        loading = {
            "naive": statistics.median(loading_time(naive, cache, None) for _ in range(5)),
            "replay": statistics.median(loading_time(mixed, cache, buffer) for _ in range(5)),
        }
        times: dict[str, list[list[float]]] = {"naive": [], "replay": []}
        for number in range(options.rounds):
            for name in sorted(times, reverse=number % 2 == 1):
                plan, plan_buffer = (naive, None) if name == "naive" else (mixed, buffer)
                times[name].append(step_times(plan, cache, plan_buffer, options.steps))
    medians = {name: statistics.median(chain.from_iterable(rounds)) for name, rounds in times.items()}
    for name, rounds in times.items():
        round_medians = sorted(statistics.median(steps) for steps in rounds)
        spread = f"{round_medians[0]:.4f} to {round_medians[-1]:.4f}"
        loaded = f"{1000 * loading[name]:.3f} ms of it for the batch"
        print(f"{name}: {medians[name]:.4f} s per step ({spread} by round), {loaded}")
    print(f"replay with share {options.share} / naive: {medians['replay'] / medians['naive']:.3f}")


if __name__ == "__main__":
    main()
