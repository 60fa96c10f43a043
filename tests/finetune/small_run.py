"""A training run of seconds over a cache of random latents: ``python -m tests.finetune.small_run ROOT STEPS``.

Ends with the model's averaged weights in ``ROOT/model``. Run as a process of its own so that it can be killed.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from datasets.latents import LatentCache, LatentSample, write_latents
from finetune.adapters import choose_trained, merge_adapter
from finetune.module import TrainingSettings, WorldModelModule
from finetune.training import train
from finetune.world_model import WorldModel, WorldModelConfig
from replay.dataset import plan_loader
from replay.plan import BatchPlan

CLIPS = 10
TINY = WorldModelConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)


def random_cache(root: Path) -> LatentCache:
    generator = torch.Generator().manual_seed(0)
    shapes = {"latents": 4, "carried": 4, "layout": 4, "mask": 4, "rays": 6}
    samples = []
    for number in range(CLIPS):
        tensors = {name: torch.randn(channels, 5, 4, 6, generator=generator) for name, channels in shapes.items()}
        tensors["mask"] = torch.zeros(4, 5, 4, 6)
        tensors["cell_weight"] = torch.ones(5, 4, 6)
        samples.append(LatentSample(clip_id=f"c{number}", domain="orbit", caption="a b", tensors=tensors))
    return write_latents(root, "key", samples)


def run(
    root: Path,
    steps: int,
    *,
    adapter: str = "full",
    learning_rate: float = 1e-3,
    pause: float = 0.0,
    spoil_at: int = -1,
) -> WorldModelModule:
    cache = random_cache(root.parent / "latents")
    torch.manual_seed(0)
    model = WorldModel.make(TINY).train()
    # A fresh model is silent, and a silent one passes no gradient on to an adapter.
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    choose_trained(model, adapter, rank=2)  # type: ignore[arg-type]
    settings = TrainingSettings(steps=steps, learning_rate=learning_rate, accumulate=2, ema_decay=0.9, warmup=3)
    module = WorldModelModule(model, settings)
    plan = BatchPlan(seed=0, batch_size=2, share=0.0, pools={}, num_driving=len(cache))

    def batches(start: int, rank: int, world_size: int) -> Iterator[Mapping[str, Any]]:
        for batch in plan_loader(plan, cache, None, start=start, stop=2 * steps, rank=rank, world_size=world_size):
            time.sleep(pause)
            if batch["step"] == spoil_at:
                batch["latents"] = batch["latents"] * float("nan")
            yield batch

    train(module, batches, root, checkpoint_every=3)
    module.adopt_average()
    merge_adapter(model)
    return module


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--adapter", default="full")
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    module = run(options.root, options.steps, adapter=options.adapter, pause=options.pause)
    module.model.save_pretrained(options.root / "model")


if __name__ == "__main__":
    main()
