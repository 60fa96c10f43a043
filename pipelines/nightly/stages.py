"""The stages of a night, in order. Each continues what an interrupted attempt left, and gives the same result."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from driveforge.finetune.training.time_limit import StopInTime
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.export.command import export as export_clips
from driveforge.pipelines.export.command import log_export
from driveforge.pipelines.generate.command import (
    GenerationSummary,
    generate_candidates,
    generate_plan,
    log_generation,
)
from driveforge.pipelines.generate.select import select_generator
from driveforge.pipelines.generate.units import PLAN_FILE, read_plan
from driveforge.pipelines.nightly.decision import decide
from driveforge.pipelines.nightly.night import Night
from driveforge.pipelines.nightly.probes import evaluate_models
from driveforge.pipelines.nightly.store_access import with_store
from driveforge.pipelines.nightly.time_budget import TimeBudget
from driveforge.pipelines.review.publish import publish_review
from driveforge.pipelines.tracking.runs import Tracker
from driveforge.pipelines.train.cache import cache_driving
from driveforge.pipelines.train.finetune import fill_buffer, finetune, require_footage, uses_replay
from driveforge.pipelines.validate.calibrate import calibrate_run
from driveforge.pipelines.validate.gate import gate as decide_on_candidates
from driveforge.pipelines.validate.gate import read_verdicts


class StageError(Exception):
    """A stage has no result, for a reason that one line states."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageContext:
    """What every stage takes; the settings are those of the night, with its run folder."""

    config: Config
    night: Night
    tracker: Tracker
    budget: TimeBudget


def cache(context: StageContext) -> Night:
    """Encode the driving data and the replay clips; returns the night with the keys of these latents.

    All nights share a folder of latents, so replay clips, captions and digests of files are not made again.
    """
    config, checkpoint = context.config, Path(context.night.start)
    link = config.run.latents
    if not link.is_symlink():
        link.symlink_to(Path("..") / link.name)
    (config.run_dir.parent / link.name).mkdir(exist_ok=True)
    keys = [cache_driving(config.data, checkpoint, link, config.model.dtype).key]
    if uses_replay(config.finetune.strategy, config.replay):
        require_footage(config.replay, config.data.framing)
        buffer = fill_buffer(config, checkpoint)
        keys += [] if config.replay.buffer else [buffer.root.name]
    return replace(context.night, latents=tuple(keys))


def probe_earlier(context: StageContext) -> None:
    """Evaluate the champion and the base, so that an error of the evaluation shows before hours of training."""
    evaluate_models(context.config, [Path(context.night.start), Path(context.night.base)], context.tracker)


def fine_tune(context: StageContext) -> None:
    """Fine-tune the champion, or the base if there is none."""
    run, deadline = context.config.run, context.budget.deadline
    callbacks = [] if deadline is None else [StopInTime(run.checkpoints, deadline)]
    with context.tracker.child("finetune") as child:
        finetune(context.config, child, callbacks)


def probe(context: StageContext) -> None:
    """Evaluate the candidate, and the earlier models again if the held-out clips have changed meanwhile."""
    night, run = context.night, context.config.run
    evaluate_models(context.config, [Path(night.start), Path(night.base), run.model], context.tracker)


def promote(context: StageContext) -> None:
    """Register the model as candidate, and promote or refuse it."""
    with_store(context.tracker, partial(decide, context.config, context.tracker))


def generate(context: StageContext) -> None:
    """Generate clips with the promoted model; with the champion, or the base, if the model was refused."""
    config = context.config
    if config.generate.retries:
        _ensure_calibration(config)
    with context.tracker.child("generation") as child:
        summary = _generate(config)
        log_generation(summary, child)
    if not summary.num_committed:
        raise StageError(f"no clip could be generated: {next(iter(summary.failed.values())).strip().splitlines()[-1]}")


def _generate(config: Config) -> GenerationSummary:
    root = config.run.candidates
    if not (root / PLAN_FILE).exists():
        return generate_candidates(config)
    # The clips of a night that was interrupted are those that it planned, even if the data has changed meanwhile.
    return generate_plan(config, select_generator(config), read_plan(root))


def gate(context: StageContext) -> None:
    """Accept or reject every clip. The first night calibrates, so that the accepted shares of nights are comparable."""
    config = context.config
    _ensure_calibration(config)
    publish_review(config, decide_on_candidates(config.run, config.calibration_path), context.tracker)


def _ensure_calibration(config: Config) -> None:
    if not config.calibration_path.exists():
        calibrate_run(config)


def export(context: StageContext) -> None:
    """Export the accepted clips, if there are any."""
    config = context.config
    if any(row["state"] == "accepted" for row in read_verdicts(config.run.verdicts)):
        with context.tracker.child("export") as child:
            log_export(export_clips(config.run, config.export, config.data), child)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """``run`` may return the night with more in its record.

    ``stops_itself`` if it watches the time budget and ends with a checkpoint, instead of being interrupted.
    """

    name: str
    run: Callable[[StageContext], Night | None]
    stops_itself: bool = False


STAGES = (
    Stage(name="cache", run=cache),
    Stage(name="probe-earlier", run=probe_earlier),
    Stage(name="finetune", run=fine_tune, stops_itself=True),
    Stage(name="probe", run=probe),
    Stage(name="promote", run=promote),
    Stage(name="generate", run=generate),
    Stage(name="gate", run=gate),
    Stage(name="export", run=export),
)
