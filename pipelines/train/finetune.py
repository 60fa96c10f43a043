"""The finetune stage: driving data and replay into ``<run_dir>/model``, resumed where an earlier call was cut short."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic_folder import atomic_folder
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.evaluation.evaluate import describe_protocol
from driveforge.finetune.evaluation.loss_forgetting import make_loss_forgetting_metric
from driveforge.finetune.strategies.registry import get_strategy
from driveforge.finetune.training.distributed import is_rank_zero
from driveforge.finetune.training.fine_tune import (
    digest_inputs,
    fine_tune,
    is_adaptive,
    make_batch_plan,
    resolve_config,
)
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.training.share_callbacks import ForgettingMetric
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.finetune.world_model.serialization import write_checksums
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.inputs.sources import open_replay
from driveforge.pipelines.registry.models import LINEAGE, read_lineage, resolve_start_checkpoint
from driveforge.pipelines.replay.clips import persistent_key
from driveforge.pipelines.replay.replaced import require_current
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.lightning_logger import TrackerLogger
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.pipelines.train.cache import cache_driving, cache_replay
from driveforge.pipelines.train.evaluate import evaluation_callbacks
from driveforge.pipelines.train.evaluation_clips import load_evaluation_set
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.mix import ReplayMix
from driveforge.replay.persistent import open_persistent

# What the lineage tells beside what decided the weights.
OUTCOMES = ("sample_counts", "decisions")


def main(config: Config, args: argparse.Namespace) -> None:
    if not is_rank_zero():
        get_console().quiet = True
        finetune(config, None)
        return
    with pipeline_run(config, "finetune") as tracker:
        folder = finetune(config, tracker)
    print(f"fine-tuned model {compute_model_digest(folder)} in {folder}")


def finetune(config: Config, tracker: Tracker | None) -> Path:
    """The folder of the fine-tuned model; made only if this very fine-tune has not left one there already.

    Of several processes that train together, the one that leads has the tracker and writes the folder.
    """
    # Of the processes that train together, one after the other finds what the first has made.
    with file_lock(config.run.cache_lock):
        checkpoint = resolve_start_checkpoint(config)
        settings, mix = config.finetune, config.replay
        replays = uses_replay(settings.strategy, mix)
        if replays:
            require_footage(config.replay, config.data.framing)
        driving = cache_driving(config.data, checkpoint, config.run.latents)
        replay = fill_buffer(config.replay, config.data.framing, checkpoint, config.run) if replays else None
        lineage = build_lineage(settings, mix, checkpoint, driving, replay)
        forgetting_metric = None
        if is_adaptive(settings, mix):
            forgetting_metric, lineage["evaluation"] = _make_forgetting_metric(config, checkpoint, driving)
        callbacks = evaluation_callbacks(config, checkpoint)
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
            callbacks=callbacks,
        )
        if tracker is not None:
            _save(tuned.model, folder, lineage | {"sample_counts": tuned.sample_counts, "decisions": tuned.decisions})
    return folder


def fill_buffer(replay: ReplaySettings, framing: Framing, checkpoint: Path, run: RunDir) -> ReplayBuffer:
    """The clips of the other domains: those of the persistent ``replay.buffer``, or of one that is filled here."""
    if replay.buffer is not None:
        persistent = open_persistent(replay.buffer, key=persistent_key(framing, checkpoint), licenses=replay.licenses)
        require_current(persistent, replay.buffer)
        return persistent
    others = cache_replay(replay, framing, checkpoint, run.latents)
    root = run.replay / others.key
    with ReplayBuffer(root, replay.capacity, seed=replay.seed, key=others.key) as buffer:
        for number in range(len(others)):
            buffer.add(others.sample(number))
    return buffer


def uses_replay(strategy_name: str, mix: ReplayMix) -> bool:
    """Whether a strategy needs samples of other domains at this share."""
    strategy = get_strategy(strategy_name)
    is_idle = mix.share == 0 and mix.schedule == "fixed"
    return strategy.needs_buffer or not (strategy.replay_mode == "none" or is_idle)


def require_footage(replay: ReplaySettings, framing: Framing) -> None:
    """A UserError where the replay footage cannot be opened: it is read only after all of the driving data."""
    if replay.buffer is None and replay.root is not None:
        open_replay(replay, framing)


def build_lineage(
    settings: FineTuneSettings, mix: ReplayMix, checkpoint: Path, driving: LatentCache, replay: ReplayBuffer | None
) -> dict[str, Any]:
    """All that decides the weights: what they start from, what they see, and how they move."""
    return {
        **digest_inputs(checkpoint, driving, replay),
        "driving_clips": len(driving),
        "training": settings.training_record(),
        **resolve_config(settings, mix, make_batch_plan(settings, mix, len(driving), replay)),
    }


def _make_forgetting_metric(config: Config, checkpoint: Path, driving: LatentCache) -> tuple[ForgettingMetric, str]:
    """What tells an adaptive share how much is forgotten of the domains that are not being learned; its protocol."""
    evaluation_set = load_evaluation_set(config, checkpoint)
    settings = replace(config.evaluate, dynamics=False)
    others = sorted({clip.domain for clip in evaluation_set.clips} - set(driving.domains))
    return make_loss_forgetting_metric(
        WorldModel.from_pretrained(checkpoint), evaluation_set, settings, others
    ), describe_protocol(evaluation_set, settings)


def _is_done(folder: Path, lineage: Mapping[str, Any]) -> bool:
    if not folder.is_dir():
        return False
    found = read_lineage(folder)
    if {key: value for key, value in found.items() if key not in OUTCOMES} != lineage:
        raise UserError(f"{folder} was fine-tuned from other data or settings: delete it, or begin in another run_dir")
    return True


def _save(model: WorldModel, folder: Path, lineage: Mapping[str, Any]) -> None:
    """The model appears under its name complete, or not at all."""
    with atomic_folder(folder) as scratch:
        model.save_pretrained(scratch)
        (scratch / LINEAGE).write_text(json.dumps(lineage, indent=2) + "\n")
        write_checksums(scratch)
