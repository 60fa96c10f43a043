"""The finetune stage: driving data and replay into ``<run_dir>/model``, resumed where an earlier call was cut short."""

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger, MLFlowLogger

from datasets.errors import UserError
from datasets.latents import LatentCache
from finetune.adapters import choose_trained, merge_adapter
from finetune.module import TrainingSettings, WorldModelModule
from finetune.shares import LogShares
from finetune.training import train
from finetune.world_model import WorldModel, model_digest
from pipelines.cache import cache_driving, cache_replay
from pipelines.config import Config, FinetuneConfig
from pipelines.models import checkpoint_of
from pipelines.replay_sources import standing_key
from pipelines.sources import framing_of
from pipelines.tracking import Tracker, pipeline_run
from replay.buffer import ReplayBuffer
from replay.dataset import plan_loader
from replay.plan import BatchPlan
from replay.standing import open_standing

LINEAGE = "lineage.json"


def main(config: Config, args: argparse.Namespace) -> None:
    with pipeline_run(config, "finetune") as tracker:
        folder = finetune(config, tracker)
    print(f"fine-tuned model {model_digest(folder)} in {folder}")


def finetune(config: Config, tracker: Tracker) -> Path:
    """The folder of the fine-tuned model; made only if this very fine-tune has not left one there already."""
    checkpoint = checkpoint_of(config.model)
    driving = cache_driving(config, checkpoint)
    replay = fill_buffer(config, checkpoint)
    plan = plan_of(config, driving, replay)
    lineage = lineage_of(config, checkpoint, driving, replay, plan)
    tracker.params({"lineage": lineage})
    tracker.dataset("driving", driving.key, str(driving.folder), "training")
    if replay is not None:
        tracker.dataset("replay", replay.digest(), str(replay.root), "training")
    folder = config.run_dir / "model"
    if not _is_done(folder, lineage):
        model = _train(config, checkpoint, driving, replay, plan, _logger(tracker))
        _save(model, folder, lineage)
    return folder


def fill_buffer(config: Config, checkpoint: Path) -> ReplayBuffer | None:
    """The clips of the other domains, or None where the strategy replays nothing.

    They are those of the standing buffer ``replay.buffer``, or of ``<run_dir>/replay``, which is filled here.
    """
    if config.finetune.strategy == "naive" or config.replay.share == 0:
        return None
    if config.replay.buffer is not None:
        key = standing_key(framing_of(config.data), checkpoint)
        return open_standing(config.replay.buffer, key=key, licences=config.replay.licences)
    others = cache_replay(config, checkpoint)
    root = config.run_dir / "replay" / others.key
    with ReplayBuffer(root, config.replay.capacity, seed=config.replay.seed, key=others.key) as buffer:
        for number in range(len(others)):
            buffer.offer(others.sample(number))
    return buffer


def plan_of(config: Config, driving: LatentCache, replay: ReplayBuffer | None) -> BatchPlan:
    return BatchPlan(
        seed=config.replay.seed,
        batch_size=config.finetune.batch_size,
        share=0.0 if replay is None else config.replay.share,
        pools={} if replay is None else replay.sizes,
        num_driving=len(driving),
        loss_weight=config.replay.loss_weight,
    )


def lineage_of(
    config: Config, checkpoint: Path, driving: LatentCache, replay: ReplayBuffer | None, plan: BatchPlan
) -> dict[str, Any]:
    """All that decides the weights: what they start from, what they see, and how they move."""
    return {
        "base": model_digest(checkpoint),
        "driving": driving.key,
        "driving_clips": len(driving),
        "replay": "" if replay is None else replay.digest(),
        "realised": plan.realised(config.finetune.steps * config.finetune.accumulate),
        "loss_weight": config.replay.loss_weight,
        "finetune": asdict(config.finetune),
    }


def _is_done(folder: Path, lineage: Mapping[str, Any]) -> bool:
    if not folder.is_dir():
        return False
    if json.loads((folder / LINEAGE).read_text()) != lineage:
        raise UserError(f"{folder} was fine-tuned from other data or settings: delete it, or begin in another run_dir")
    return True


def _train(
    config: Config,
    checkpoint: Path,
    driving: LatentCache,
    replay: ReplayBuffer | None,
    plan: BatchPlan,
    logger: Logger,
) -> WorldModel:
    settings = config.finetune
    torch.manual_seed(settings.seed)
    model = WorldModel.from_pretrained(checkpoint).train()
    choose_trained(model, settings.adapter, settings.lora_rank)
    module = WorldModelModule(model, training_settings(settings))
    stop = settings.steps * settings.accumulate

    def batches(start: int, rank: int, world_size: int) -> Iterator[Mapping[str, Any]]:
        yield from plan_loader(plan, driving, replay, start=start, stop=stop, rank=rank, world_size=world_size)

    train(
        module,
        batches,
        config.run_dir / "finetune",
        checkpoint_every=settings.checkpoint_every,
        logger=logger,
        callbacks=[LogShares(plan)],
    )
    module.adopt_average()
    merge_adapter(model)
    return model


def training_settings(settings: FinetuneConfig) -> TrainingSettings:
    return TrainingSettings(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        ema_decay=settings.ema_decay,
        clip=settings.clip,
        accumulate=settings.accumulate,
        precision=settings.precision,
        predict=settings.predict,
        seed=settings.seed,
    )


def _save(model: WorldModel, folder: Path, lineage: Mapping[str, Any]) -> None:
    """The model appears under its name complete, or not at all."""
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(scratch)
    (scratch / LINEAGE).write_text(json.dumps(lineage, indent=2) + "\n")
    os.rename(scratch, folder)


def _logger(tracker: Tracker) -> Logger:
    """Lightning's own MLflow logger, writing to the tracker's run."""
    return MLFlowLogger(run_id=tracker.run_id, tracking_uri=tracker.client.tracking_uri, log_model=False)
