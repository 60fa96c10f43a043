"""Fine-tuning steps per second against a bare PyTorch loop: ``python -m tests.benchmarks.finetune_speed``.

Both use the same batches of random latents, loss, optimizer, clipping and precision; ours adds Lightning, the batch
plan, the cache on disk, the EMA, checkpoints and logs. Rounds alternate; medians are compared.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from driveforge.datasets.latents.cache import LatentCache, LatentSample, write_latents
from driveforge.finetune.training.loop import train
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.training.settings import TrainingSettings
from driveforge.finetune.world_model.clip_tensors import MASK_CHANNELS, RAY_CHANNELS, ClipTensors
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.flow import flow_matching_loss, sample_noise
from driveforge.replay.dataset import Batch, plan_loader
from driveforge.replay.plan import BatchPlan
from tests.defaults import fine_tune_settings

BATCH, FRAMES, HEIGHT, WIDTH = 4, 17, 12, 20


def random_cache(root: Path) -> LatentCache:
    generator = torch.Generator().manual_seed(0)
    z = TinyConfig().latent_channels
    channels = {"latents": z, "warped": z, "layout": z, "mask": MASK_CHANNELS, "rays": RAY_CHANNELS}
    samples = []
    for number in range(16):
        shapes = {name: (count, FRAMES, HEIGHT, WIDTH) for name, count in channels.items()}
        tensors = {name: torch.rand(shape, generator=generator).half() for name, shape in shapes.items()}
        tensors["cell_weight"] = torch.ones(FRAMES, HEIGHT, WIDTH).half()
        samples.append(LatentSample(clip_id=f"c{number}", domain="orbit", caption="a", tensors=tensors))
    return write_latents(root, "key", samples)


def time_driveforge(cache: LatentCache, settings: TrainingSettings) -> float:
    """Seconds per step, from the first batch to the end, including the checkpoint and the EMA."""
    plan = BatchPlan(seed=0, batch_size=BATCH, share=0.0, pools={}, num_driving=len(cache))
    start_time = 0.0

    def batches(start: int, rank: int, world_size: int) -> Iterator[Batch]:
        nonlocal start_time
        start_time = time.perf_counter()
        yield from plan_loader(plan, cache, None, start=start, stop=settings.steps)

    torch.manual_seed(0)
    module = WorldModelModule(TinyWorldModel.from_config(TinyConfig()).train(), settings)
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        train(module, batches, Path(root))
    return (time.perf_counter() - start_time) / settings.steps


def time_bare_loop(cache: LatentCache, settings: TrainingSettings) -> float:
    """Seconds per step of a hand-written loop, with batches stacked in memory beforehand."""
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TinyConfig()).train()
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, foreach=True)
    samples = [ClipTensors.from_mapping(cache.sample(i).tensors) for i in range(len(cache))]
    batches = [ClipTensors.stack(samples[i : i + BATCH]) for i in range(0, len(samples), BATCH)]
    start_time = time.perf_counter()
    for step in range(settings.steps):
        batch = batches[step % len(batches)]
        latents = batch.latents.float()
        conditions = model.batch_conditions(batch, ["orbit"] * BATCH, ["a"] * BATCH)
        noise_sample = sample_noise(0, step, range(BATCH), latents.shape[1:])
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
            loss = flow_matching_loss(model, latents, batch.cell_weight, conditions, noise_sample).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return (time.perf_counter() - start_time) / settings.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50, help="steps of a round, which writes one checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = fine_tune_settings(
        steps=options.steps, checkpoint_every=options.steps, learning_rate=1e-3, precision="bf16"
    )
    with tempfile.TemporaryDirectory() as root:
        cache = random_cache(Path(root))
        pairs = [(time_driveforge(cache, settings), time_bare_loop(cache, settings)) for _ in range(options.rounds)]
    ours, bare = (1 / statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"ours {ours:.2f} steps/s, bare loop {bare:.2f} steps/s, ratio {ours / bare:.2f}")


if __name__ == "__main__":
    main()
