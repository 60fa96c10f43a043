"""The finetune stage: fine-tune on driving data and replay into ``<run_dir>/model``; resumes an interrupted run."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic_folder import atomic_folder
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.evaluation.callback import EvaluationCallback
from driveforge.finetune.evaluation.clips import EvaluationSet
from driveforge.finetune.evaluation.evaluate import describe_protocol
from driveforge.finetune.evaluation.loss_forgetting import make_loss_forgetting_metric
from driveforge.finetune.strategies.registry import get_strategy
from driveforge.finetune.training.adapters import save_adapters
from driveforge.finetune.training.distributed import is_rank_zero
from driveforge.finetune.training.fine_tune import (
    FineTuneResult,
    digest_inputs,
    fine_tune,
    is_adaptive,
    make_batch_plan,
    require_shardable,
    resolve_config,
)
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.training.share_callbacks import ForgettingMetric
from driveforge.finetune.world_model.families.registry import TEXT_STORE, Dtype, load_world_model
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.finetune.world_model.serialization import write_checksums
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.inputs.sources import open_replay
from driveforge.pipelines.registry.models import LINEAGE, read_lineage, resolve_start_checkpoint
from driveforge.pipelines.replay.clips import persistent_key
from driveforge.pipelines.replay.replaced import require_current
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.tracking.lightning_logger import TrackerLogger
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.pipelines.train.cache import cache_driving, cache_replay
from driveforge.pipelines.train.code_version import read_code_version
from driveforge.pipelines.train.estimate.fake_model import ClipSize
from driveforge.pipelines.train.estimate.require import require_memory
from driveforge.pipelines.train.evaluation_clips import load_evaluation_set
from driveforge.pipelines.train.settings import EvaluateSettings
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.mix import ReplayMix
from driveforge.replay.persistent import open_persistent

# Entries of the lineage that do not determine the weights.
OUTCOMES = ("sample_counts", "decisions", "code")


def main(config: Config, args: argparse.Namespace) -> None:
    if not is_rank_zero():
        get_console().quiet = True
        finetune(config, None)
        return
    with pipeline_run(config, "finetune") as tracker:
        folder = finetune(config, tracker)
    print(f"fine-tuned model {compute_model_digest(folder)} in {folder}")


def finetune(config: Config, tracker: Tracker | None, more_callbacks: Sequence[Callback] = ()) -> Path:
    """Fine-tune into ``<run_dir>/model``, unless the same fine-tune is already there; returns the folder.

    In distributed training, rank 0 has the tracker and writes the folder; the others pass None.
    """
    require_shardable(config.finetune)
    # The first rank fills the caches; the others wait for it here and read them.
    with file_lock(config.run.cache_lock):
        checkpoint = resolve_start_checkpoint(config)
        settings, mix = config.finetune, config.replay
        if torch.cuda.is_available():
            require_gpu_memory(config, checkpoint)
        has_replay = uses_replay(settings.strategy, mix)
        if has_replay:
            require_footage(config.replay, config.data.framing)
        driving = cache_driving(config.data, checkpoint, config.run.latents, config.model.dtype)
        replay = fill_buffer(config, checkpoint) if has_replay else None
        lineage = build_lineage(settings, mix, checkpoint, driving, replay)
        forgetting_metric, callbacks = None, list[Callback]()
        if is_adaptive(settings, mix) or config.evaluate.every > 0:
            evaluation_set = load_evaluation_set(config, checkpoint)
            if is_adaptive(settings, mix):
                forgetting_metric, lineage["evaluation"] = _make_forgetting_metric(
                    evaluation_set, config.evaluate, checkpoint, driving, config.model.dtype
                )
            callbacks = _evaluation_callbacks(evaluation_set, config.evaluate, checkpoint, config.run.evaluation)
    if tracker is not None:
        tracker.log_params({"lineage": lineage})
        tracker.log_dataset("driving", driving.key, str(driving.folder), "training")
        if replay is not None:
            tracker.log_dataset("replay", replay.digest(), str(replay.root), "training")
    folder = config.run.model
    if not _is_done(folder, lineage):
        logger = TrackerLogger(tracker) if tracker is not None else False
        tuned = fine_tune(
            checkpoint,
            driving,
            replay,
            settings,
            mix,
            config.run.checkpoints,
            forgetting_metric=forgetting_metric,
            logger=logger,
            callbacks=[*callbacks, *more_callbacks],
            dtype=config.model.dtype,
        )
        if tracker is not None:
            outcomes = (tuned.sample_counts, tuned.decisions, read_code_version())
            _save(tuned, folder, lineage | dict(zip(OUTCOMES, outcomes, strict=True)))
    return folder


def require_gpu_memory(config: Config, checkpoint: Path) -> None:
    """Raise UserError if the fine-tune clearly does not fit in the memory of this process's GPU."""
    require_memory(
        checkpoint,
        ClipSize.of(config.data),
        config.finetune,
        device="cuda",
        gpus=int(os.environ["WORLD_SIZE"]) if TorchElasticEnvironment.detect() else 1,
        memory=torch.cuda.get_device_properties(0).total_memory,
    )


def fill_buffer(config: Config, checkpoint: Path) -> ReplayBuffer:
    """The replay buffer: the persistent ``replay.buffer``, or a buffer of this run that is filled here."""
    replay, framing, run = config.replay, config.data.framing, config.run
    if replay.buffer is not None:
        persistent = open_persistent(replay.buffer, key=persistent_key(framing, checkpoint), licenses=replay.licenses)
        require_current(persistent, replay.buffer)
        return persistent
    is_evaluated = replay.root in config.evaluate.footage
    others = cache_replay(replay, framing, checkpoint, run.latents, config.model.dtype, without_held_out=is_evaluated)
    root = run.replay / others.key
    with ReplayBuffer(root, replay.capacity, seed=replay.seed, key=others.key) as buffer:
        for number in range(len(others)):
            buffer.add(others.sample(number))
    return buffer


def uses_replay(strategy_name: str, mix: ReplayMix) -> bool:
    """Whether the strategy uses samples of other domains with this mix."""
    strategy = get_strategy(strategy_name)
    is_idle = mix.share == 0 and mix.schedule == "fixed"
    return strategy.needs_buffer or not (strategy.replay_mode == "none" or is_idle)


def require_footage(replay: ReplaySettings, framing: Framing) -> None:
    """Raise UserError if the replay footage cannot be opened, before the driving data is encoded."""
    if replay.buffer is None and replay.root is not None:
        open_replay(replay, framing)


def build_lineage(
    settings: FineTuneSettings, mix: ReplayMix, checkpoint: Path, driving: LatentCache, replay: ReplayBuffer | None
) -> dict[str, Any]:
    """Everything that determines the weights: digests of the inputs, and the resolved settings."""
    return {
        **digest_inputs(checkpoint, driving, replay),
        "driving_clips": len(driving),
        "training": settings.training_record(),
        **resolve_config(settings, mix, make_batch_plan(settings, mix, len(driving), replay)),
    }


def _make_forgetting_metric(
    evaluation_set: EvaluationSet, evaluate: EvaluateSettings, checkpoint: Path, driving: LatentCache, dtype: Dtype
) -> tuple[ForgettingMetric, str]:
    """The metric of an adaptive share, forgetting on all domains except the driving ones, and its protocol."""
    settings = replace(evaluate, dynamics=False)
    others = sorted({clip.domain for clip in evaluation_set.clips} - set(driving.domains))
    start = load_world_model(checkpoint, dtype, driving.folder.parent / TEXT_STORE)
    metric = make_loss_forgetting_metric(start, evaluation_set, settings, others)
    return metric, describe_protocol(evaluation_set, settings)


def _evaluation_callbacks(
    evaluation_set: EvaluationSet, settings: EvaluateSettings, checkpoint: Path, table: Path
) -> list[Callback]:
    """The callback that evaluates every ``evaluate.every`` steps into ``table``; none if that is 0."""
    if settings.every == 0:
        return []
    base = compute_model_digest(checkpoint)
    return [EvaluationCallback(evaluation_set, settings, table, steps=settings.every, base=base)]


def _is_done(folder: Path, lineage: Mapping[str, Any]) -> bool:
    if not folder.is_dir():
        return False
    inputs = {key: value for key, value in read_lineage(folder).items() if key not in OUTCOMES}
    if inputs != lineage:
        raise UserError(f"{folder} was fine-tuned with other data or settings: delete it, or use another run_dir")
    return True


def _save(tuned: FineTuneResult, folder: Path, lineage: Mapping[str, Any]) -> None:
    """Save atomically, with the lineage and checksums; a LoRA also as files of its own."""
    with atomic_folder(folder) as scratch:
        tuned.model.save_pretrained(scratch)
        save_adapters(tuned.adapters, scratch)
        (scratch / LINEAGE).write_text(json.dumps(lineage, indent=2) + "\n")
        write_checksums(scratch)
