"""A training run of seconds over a cache of random latents."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import Callback

from driveforge.datasets.latents.cache import LatentCache, LatentSample, write_latents
from driveforge.finetune.training.adapters import merge_adapter, set_trainable
from driveforge.finetune.training.loop import train
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.replay.dataset import Batch, plan_loader
from driveforge.replay.plan import BatchPlan
from tests.defaults import fine_tune_settings

CLIPS = 10
TINY = TinyConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)


def random_cache(root: Path) -> LatentCache:
    if (root / "key" / "index.json").exists():  # several processes may read it, only one may write
        return LatentCache(root, "key")
    generator = torch.Generator().manual_seed(0)
    shapes = {"latents": 4, "warped": 4, "layout": 4, "mask": 4, "rays": 6}
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
    adapter: Literal["full", "lora"] = "full",
    nan_at: int = -1,
    callbacks: Sequence[Callback] = (),
    **changes: Any,
) -> WorldModelModule:
    """The trained module; the latents of batch ``nan_at`` are NaN, and ``changes`` are of the settings."""
    cache = random_cache(root.parent / "latents")
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TINY).train()
    # The output layer of a new model is zero, so no gradient would reach an adapter.
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    set_trainable(model, adapter, rank=2)
    usual: dict[str, Any] = {
        "learning_rate": 1e-3,
        "accumulate_grad_batches": 2,
        "ema_decay": 0.9,
        "warmup_steps": 3,
        "checkpoint_every": 3,
    }
    settings = fine_tune_settings(steps=steps, **usual | changes)
    module = WorldModelModule(model, settings)
    num_batches = settings.num_batches
    plan = BatchPlan(seed=0, batch_size=2, share=0.0, pools={}, num_driving=len(cache))

    def batches(start: int, rank: int, world_size: int) -> Iterator[Batch]:
        ranks = {"rank": rank, "world_size": world_size, "num_workers": settings.num_workers}
        for batch in plan_loader(plan, cache, None, start=start, stop=num_batches, **ranks):
            if batch.step == nan_at:
                latents = batch.tensors["latents"] * float("nan")
                yield replace(batch, tensors={**batch.tensors, "latents": latents})
            else:
                yield batch

    train(module, batches, root, callbacks=callbacks)
    module.copy_ema_to_model()
    if module.model.device.type != "meta":  # the other ranks of a sharded run
        merge_adapter(module.model)
    return module
