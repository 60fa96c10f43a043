"""The pretrain stage: train the base checkpoint on procedural domains, from scratch or from an earlier base.

VAE, latents and world model are made in this order in one folder. Finished parts are kept and the world model resumes
from its last checkpoint, so the same command resumes after a kill. With ``pretrain.minutes``, training is by the clock,
on clips that are rendered meanwhile (``streaming/``).
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, Logger
from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import LatentCache
from driveforge.datasets.progress import track
from driveforge.datasets.source import Source
from driveforge.finetune.training.distributed import is_rank_zero, is_sharded
from driveforge.finetune.training.loop import train
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.training.settings import TrainingSettings
from driveforge.finetune.training.vae import train_vae
from driveforge.finetune.world_model.clip_tensors import ConditionMask
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel, limits_of_strides
from driveforge.finetune.world_model.limits import require_framing
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.finetune.world_model.preconditioning import estimate_latent_std
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca, make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec, to_vae_input
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message
from driveforge.pipelines.inputs.sources import open_pretraining
from driveforge.pipelines.train.base_files import (
    VAE_CURVE,
    copy_vae,
    is_done,
    logged_losses,
    make_csv,
    require_base,
    save_base,
    save_vae,
)
from driveforge.pipelines.train.cache import encode_source
from driveforge.pipelines.train.settings import PretrainSettings
from driveforge.pipelines.train.streaming.base import train_by_clock
from driveforge.replay.dataset import Batch, plan_loader
from driveforge.replay.plan import BatchPlan

_PCA_CLIPS = 64
_STATISTICS_CLIPS = 140


def main(config: Config, args: argparse.Namespace) -> None:
    if config.pretrain.start is not None:
        require_base(config.pretrain.start)
    _require_consistent(config.pretrain, config.data.framing)
    if not is_rank_zero():
        get_console().quiet = True
        pretrain(config.pretrain, config.data.framing)
        return
    with file_lock(config.pretrain.out / ".lock", print_message):
        folder = pretrain(config.pretrain, config.data.framing)
    print(f"base checkpoint {compute_model_digest(folder)} in {folder}")


def _require_consistent(settings: PretrainSettings, framing: Framing) -> None:
    """Raise UserError if settings contradict each other, before any work."""
    if settings.codec == "strided" and settings.minutes is None:
        raise UserError("pretrain.codec=strided needs pretrain.minutes, for example pretrain.minutes=10")
    if settings.minutes is not None and settings.streaming.first_clips > settings.streaming.pool_clips:
        raise UserError("pretrain.streaming.first_clips must be at most pretrain.streaming.pool_clips")
    require_framing(framing, limits_of_strides(8, 4 if settings.codec == "strided" else 1), "a tiny model")


def pretrain(settings: PretrainSettings, framing: Framing) -> Path:
    """Train the base checkpoint ``<pretrain.out>/model``, unless it is already there; returns the folder.

    In distributed training every rank calls it, and rank 0 writes the folder.
    """
    folder = settings.out / "model"
    if not is_done(folder, settings, framing):
        make_base(settings, framing)
    return folder


def make_base(settings: PretrainSettings, framing: Framing) -> None:
    if settings.minutes is not None:
        save_base(*train_by_clock(settings, framing, settings.minutes), settings, framing)
        return
    opener = partial(open_pretraining, settings, framing)
    # The first rank makes the VAE and the latents; the others wait for them here and read them.
    with file_lock(settings.out / ".inputs.lock"):
        if not (settings.out / "vae" / "config.json").is_file():
            if settings.start is None:
                train_base_vae(opener(), settings)
            else:
                copy_vae(settings.start, settings.out)
        cache = encode_source(opener, framing, settings.out, settings.out / "latents", "clips")
    model = train_world_model(cache, settings)
    if is_rank_zero():
        save_base(model, logged_losses(settings.out / "curves"), settings, framing)


def train_base_vae(source: Source, settings: PretrainSettings) -> None:
    """Initialize the VAE by PCA and train it; writes ``<out>/vae`` and its curve ``<out>/vae_curve.csv``."""
    chosen = np.linspace(0, len(source) - 1, min(len(source), settings.vae_clips)).astype(int)
    scenes = source.scenes()
    clips = np.concatenate([source.load(scenes[n]).frames for n in track(chosen, "Rendering clips for the VAE")])
    torch.manual_seed(settings.seed)
    config = TinyConfig()
    vae = make_vae(config.latent_channels, config.patch_size)
    sampled = clips[:: max(1, len(clips) // _PCA_CLIPS)]
    initialize_from_pca(vae, to_vae_input(torch.from_numpy(sampled)))
    steps = train_vae(
        vae,
        clips,
        steps=settings.vae_steps,
        batch_size=settings.vae_batch_size,
        learning_rate=settings.vae_learning_rate,
        seed=settings.seed,
    )
    curve = [asdict(step) for step in track(steps, "Training the VAE", total=settings.vae_steps)]
    write_atomic(settings.out / VAE_CURVE, make_csv(curve))
    save_vae(vae, settings.out)


def train_world_model(cache: LatentCache, settings: PretrainSettings) -> TinyWorldModel:
    """The EMA model after ``settings.steps`` steps; resumes from ``<out>/checkpoints``."""
    if settings.start is None:
        config = TinyConfig(**asdict(settings.transformer))
        model = init_model(config, WanCodec.from_pretrained(settings.out), cache, settings.seed)
    else:
        model = TinyWorldModel.from_pretrained(settings.start)
    return train_on_cache(
        cache, model, settings, settings.out / "checkpoints", logger=CSVLogger(settings.out, name="curves")
    )


def init_model(config: TinyConfig, codec: WanCodec, cache: LatentCache, seed: int) -> TinyWorldModel:
    """A model with random weights, preconditioned for the latents of ``cache``. Seeds torch."""
    torch.manual_seed(seed)
    model = TinyWorldModel.from_config(config, codec)
    model.latent_std.copy_(latent_std(cache))
    return model


def train_on_cache(
    cache: LatentCache,
    model: TinyWorldModel,
    training: TrainingSettings,
    checkpoints: Path,
    *,
    logger: Logger | bool = False,
) -> TinyWorldModel:
    """Train ``model`` on all samples of a cache; returns its EMA. Resumes from ``checkpoints``.

    In a sharded run only rank 0 has the weights of the result; those of the other ranks are on the meta device.
    """
    fingerprint = {"start": model.digest(), "clips": cache.digest()}
    if training.compile:
        model.compile_blocks()
    if not is_sharded(training):
        model.to(torch.accelerator.current_accelerator() or "cpu")  # where its average will be, too
    module = WorldModelModule(model.train(), training, resolved_config=fingerprint)
    plan = BatchPlan(seed=training.seed, batch_size=training.batch_size, share=0.0, pools={}, num_driving=len(cache))

    def batches(start: int, rank: int, world_size: int) -> Iterator[Batch]:
        yield from plan_loader(
            plan,
            cache,
            None,
            start=start,
            stop=training.num_batches,
            rank=rank,
            world_size=world_size,
            num_workers=training.num_workers,
        )

    train(module, batches, checkpoints, logger=logger)
    module.copy_ema_to_model()
    return model


def latent_std(cache: LatentCache) -> torch.Tensor:
    """The standard deviations (2, Z) of the preconditioning, from clips evenly spaced over the cache."""
    numbers = np.linspace(0, len(cache) - 1, min(len(cache), _STATISTICS_CLIPS)).astype(int)
    tensors = [cache.sample(int(n)).tensors for n in numbers]
    latents, warped, mask = (torch.stack([t[name].float() for t in tensors]) for name in ("latents", "warped", "mask"))
    return estimate_latent_std(latents, warped, ConditionMask.from_channels(mask))
