"""Fine-tunes of a second each, from a base, latents and a replay buffer that ``prepare_root`` leaves under a folder."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from driveforge.datasets.latents.cache import LatentCache, LatentSample
from driveforge.finetune.strategies import fisher
from driveforge.finetune.training.fine_tune import FineTuned, FineTuneSettings, ReplayMix, fine_tune
from driveforge.finetune.training.module import TrainingSettings
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.buffer import ReplayBuffer
from tests.finetune.small_run import TINY, random_cache

STEPS = 7
DOMAINS = ("falling", "orbit")


def prepare_root(root: Path) -> None:
    torch.manual_seed(0)
    model = WorldModel.make(TINY)
    # A fresh model is silent, and a silent one passes no gradient on to an adapter.
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    model.save_pretrained(root / "base")
    cache = random_cache(root / "latents")
    with ReplayBuffer(root / "buffer", 8) as buffer:
        for number in range(len(cache)):
            tensors = cache.sample(number).tensors
            domain = DOMAINS[number % 2]
            tensors = tensors | {"latents": tensors["latents"] + 0.1}
            buffer.offer(LatentSample(clip_id=f"r{number}", domain=domain, caption="x", tensors=tensors))


def settings_for(strategy: str, **changes: Any) -> FineTuneSettings:
    """Changes are of ``FineTuneSettings``, of its ``replay`` (``share``, ``schedule``, ...), or ``steps``."""
    mix = {name: changes.pop(name) for name in list(changes) if name in ReplayMix.__dataclass_fields__}
    training = TrainingSettings(
        steps=changes.pop("steps", STEPS), learning_rate=1e-3, accumulate=2, ema_decay=0.9, warmup=3, predict=0.3
    )
    usual: dict[str, Any] = {"adapter": "full", "lora_rank": 2, "batch_size": 4, "checkpoint_every": 2}
    replay = ReplayMix(**{"share": 0.5, "probe_every": 2} | mix)
    return FineTuneSettings(strategy=strategy, training=training, replay=replay, **usual | changes)


def run(root: Path, name: str, settings: FineTuneSettings, *callbacks: Callback, **given: Any) -> FineTuned:
    """A fine-tune in ``root/name``; ``probe`` and ``replay`` may be given."""
    # Enough to test that they are the same again.
    fisher.NUM_GRADIENTS = 6
    replay = given.pop("replay", None) or ReplayBuffer.open(root / "buffer")
    cache = LatentCache(root / "latents", "key")
    return fine_tune(root / "base", cache, replay, settings, root / name, callbacks=callbacks, **given)


class Pause(Callback):
    """Slow enough to be killed."""

    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(0.05)


def fickle_probe(model: WorldModel) -> dict[str, float]:
    """A number that hangs on the last bit of the weights."""
    weights = model.transformer.proj_out.weight.detach().double()
    return {"orbit": float(weights.sum() * 1e5) % 0.1, "falling": 0.0}


def run_slowly(root: Path, name: str, settings: FineTuneSettings) -> None:
    """What a process does that is to be killed."""
    torch.set_num_threads(1)
    run(root, name, settings, Pause(), probe=fickle_probe)
