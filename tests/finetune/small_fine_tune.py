"""Fine-tunes of a second each, from the base, latents and replay buffer that ``prepare_root`` writes to a folder."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from driveforge.datasets.latents.cache import LatentCache, LatentSample
from driveforge.finetune.training.fine_tune import FineTuneResult, fine_tune
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.mix import ReplayMix
from tests.defaults import fine_tune_settings, replay_mix
from tests.finetune.small_run import TINY, random_cache

STEPS = 7
DOMAINS = ("falling", "orbit")


def prepare_root(root: Path) -> None:
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TINY)
    # The output layer of a new model is zero, so no gradient would reach an adapter.
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    model.save_pretrained(root / "base")
    cache = random_cache(root / "latents")
    with ReplayBuffer(root / "buffer", 8) as buffer:
        for number in range(len(cache)):
            tensors = cache.sample(number).tensors
            domain = DOMAINS[number % 2]
            tensors = tensors | {"latents": tensors["latents"] + 0.1}
            buffer.add(LatentSample(clip_id=f"r{number}", domain=domain, caption="x", tensors=tensors))


Settings = tuple[FineTuneSettings, ReplayMix]


def settings_for(strategy: str, **changes: Any) -> Settings:
    """Changes are of ``FineTuneSettings``, or of ``ReplayMix`` (``share``, ``schedule``, ...)."""
    mix = {name: changes.pop(name) for name in list(changes) if name in ReplayMix.__dataclass_fields__}
    usual: dict[str, Any] = {
        "steps": STEPS,
        "accumulate_grad_batches": 2,
        "ema_decay": 0.9,
        "warmup_steps": 3,
        "continuation_prob": 0.3,
        "adapter": "full",
        "lora_rank": 2,
        "checkpoint_every": 2,
    }
    return (
        fine_tune_settings(strategy=strategy, **usual | changes),
        replay_mix(**{"share": 0.5, "eval_every": 2} | mix),
    )


def run(root: Path, name: str, settings: Settings, *callbacks: Callback, **given: Any) -> FineTuneResult:
    """A fine-tune in ``root/name``, with few samples for the Fisher; ``given`` are more arguments of ``fine_tune``."""
    cache, replay = LatentCache(root / "latents", "key"), ReplayBuffer.open(root / "buffer")
    given = {"num_fisher_samples": 6} | given
    return fine_tune(root / "base", cache, replay, *settings, root / name, callbacks=callbacks, **given)


class Pause(Callback):
    """Slows training down, so that a test can kill it."""

    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(0.05)


def bit_sensitive_metric(model: TinyWorldModel) -> dict[str, float]:
    """A forgetting metric that depends on the last bit of the weights."""
    weights = model.transformer.proj_out.weight.detach().double()
    return {"orbit": float(weights.sum() * 1e5) % 0.1, "falling": 0.0}


def run_slowly(root: Path, name: str, settings: Settings) -> None:
    """The target of a process that a test kills."""
    torch.set_num_threads(1)
    run(root, name, settings, Pause(), forgetting_metric=bit_sensitive_metric)
