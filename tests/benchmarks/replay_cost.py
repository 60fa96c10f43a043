"""What replay costs, a training step with it against one without: ``python -m tests.benchmarks.replay_cost``.

The default model (random weights) trains on batches of as many random latents either way, through the stage's own
parts. With replay, a share of each batch comes from a replay buffer on disk with four domains, and the sample_counts shares
are followed. Seconds are those of the processor on one thread, so that other programs do not count. Rounds of both take
turns; medians over the steps of all rounds are compared.
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
from driveforge.finetune.world_model.model import WorldModel, WorldModelConfig
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import plan_loader
from driveforge.replay.plan import BatchPlan
from tests.benchmarks.finetuning import random_cache
from tests.defaults import fine_tune_settings

BATCH, FRAMES, CLIPS = 4, 5, 64


def clips(root: Path) -> list[LatentSample]:
    """Latents of ``FRAMES`` latent frames."""
    longer = random_cache(root)
    samples = [longer.sample(number % len(longer)) for number in range(CLIPS)]
    return [
        replace(
            sample,
            clip_id=f"c{number}",
            tensors={name: tensor[..., :FRAMES, :, :].clone() for name, tensor in sample.tensors.items()},
        )
        for number, sample in enumerate(samples)
    ]


def step_times(plan: BatchPlan, cache: LatentCache, buffer: ReplayBuffer | None, steps: int) -> list[float]:
    """Seconds ``(steps,)`` of each step but the first."""
    asked: list[float] = []

    def batches(start: int, rank: int, world_size: int) -> Iterator[Mapping[str, Any]]:
        for batch in plan_loader(plan, cache, buffer, start=start, stop=steps + 2):
            yield batch
            asked.append(time.process_time())

    torch.manual_seed(0)
    settings = fine_tune_settings(steps=steps + 2, learning_rate=1e-3, precision="bf16")
    module = WorldModelModule(WorldModel.from_config(WorldModelConfig()).train(), settings)
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        train(module, batches, Path(root), checkpoint_every=10 * steps, callbacks=[ShareLogger(plan)])
    return [after - before for before, after in pairwise(asked)][-steps:]


def loading_time(plan: BatchPlan, cache: LatentCache, buffer: ReplayBuffer | None, batches: int = 1000) -> float:
    """Seconds in which a batch is planned, looked up and stacked: all that replay does at a step."""
    began = time.process_time()
    for _ in plan_loader(plan, cache, buffer, start=0, stop=batches):
        pass
    return (time.process_time() - began) / batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="of a round")
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
                plan, held = (naive, None) if name == "naive" else (mixed, buffer)
                times[name].append(step_times(plan, cache, held, options.steps))
    medians = {name: statistics.median(chain.from_iterable(rounds)) for name, rounds in times.items()}
    for name, rounds in times.items():
        of_rounds = sorted(statistics.median(steps) for steps in rounds)
        spread = f"{of_rounds[0]:.4f} to {of_rounds[-1]:.4f}"
        loaded = f"of it {1000 * loading[name]:.3f} ms for its batch"
        print(f"{name}: {medians[name]:.4f} s a step ({spread} by round), {loaded}")
    print(f"replay with share {options.share} / naive: {medians['replay'] / medians['naive']:.3f}")


if __name__ == "__main__":
    main()
