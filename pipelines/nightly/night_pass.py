"""One pass: continue the unfinished night, or begin one if there is new data, and take it to its report."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.saved import changed_settings, load_settings, with_absolute_paths, write_settings
from driveforge.pipelines.console import print_message, print_result
from driveforge.pipelines.nightly.new_data import TrainingClips, find_training_clips
from driveforge.pipelines.nightly.night import (
    Night,
    find_unfinished,
    known_clips,
    list_nights,
    new_name,
    now,
    write_clips,
    write_night,
)
from driveforge.pipelines.nightly.report import REPORT_JSON, REPORT_PAGE, write_report
from driveforge.pipelines.nightly.retention import remove_expired
from driveforge.pipelines.nightly.stages import STAGES, Stage, StageContext
from driveforge.pipelines.nightly.status import Status
from driveforge.pipelines.nightly.store_access import send_queued, wait_for_store
from driveforge.pipelines.nightly.time_budget import TimeBudget
from driveforge.pipelines.registry.models import BASE, resolve_checkpoint
from driveforge.pipelines.registry.versions import CHAMPION, open_registry
from driveforge.pipelines.run_dir import RunDir, run_dir_lock
from driveforge.pipelines.tracking.outbox import Outbox
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.pipelines.tracking.store import find_store, open_store

# A night keeps the settings of these sections, since its model depends on them.
_OF_MODEL = ("data", "replay", "model", "finetune", "evaluate", "promote")


Notify = Callable[[dict[str, Any]], None]


def run_pass(config: Config, budget: TimeBudget, notify: Notify, *, force: bool) -> dict[str, Any]:
    """Take one pass over the nights in ``config.run_dir``; returns its summary, which ``notify`` has got."""
    nights = config.run_dir
    clips = find_training_clips(config.data, nights)
    wait_for_store(find_store(RunDir(nights / "night"), config.tracking).uri)
    _send_queued_of_nights(config)
    night = find_unfinished(nights)
    if night is not None:
        changes = _changes_of_model(config, night, clips)
        if not changes or night.has("finetune"):
            return _continue(_config_of(config, night, keeps_model=True), night, budget, notify, changes)
        print_message(f"night {night.name} is given up, since {changes[0]}; a new one begins")
        write_night(nights, replace(night, outcome="superseded"))
    num_new = clips.count_new(known_clips(nights))
    if not num_new and not force:
        remove_expired(config, nights, [night for night in list_nights(nights) if night.is_finished])
        notify(summary := _nothing_new(nights, clips))
        return summary
    night = _begin(config, clips, num_new)
    print_message(f"night {night.name}: {num_new} of {night.num_clips} clips are new")
    return _continue(_config_of(config, night, keeps_model=False), night, budget, notify)


def _changes_of_model(config: Config, night: Night, clips: TrainingClips) -> list[str]:
    """What has changed since the night began, of all that its model depends on; one line each."""
    saved, _ = load_settings(config.run_dir / night.name, [], [])
    current = _config_of(config, night, keeps_model=False)
    sections = {name: getattr(current, name) for name in _OF_MODEL}
    changes = changed_settings(saved, replace(saved, **sections))
    return changes if clips.digest == night.data else ["its data has changed", *changes]


def _config_of(config: Config, night: Night, *, keeps_model: bool) -> Config:
    """The settings of a night: those of the pass, with its run folder and start; or its own for the model."""
    run_dir = config.run_dir / night.name
    model = replace(config.model, checkpoint=night.start)
    calibration = config.validate.calibration or RunDir(config.run_dir).calibration
    settings = with_absolute_paths(
        replace(
            config,
            run_dir=run_dir,
            model=model,
            validate=replace(config.validate, calibration=calibration),
            nightly=replace(config.nightly, webhook=None),  # it may hold a secret, and a night is logged
        )
    )
    if not keeps_model:
        return settings
    saved, _ = load_settings(run_dir, [], [])
    return replace(settings, **{name: getattr(saved, name) for name in _OF_MODEL})


def _begin(config: Config, clips: TrainingClips, num_new: int) -> Night:
    """Create a night that starts from the champion, or from ``model.checkpoint`` if there is none."""
    nights = config.run_dir
    name = new_name(nights)
    run = RunDir(nights / name)
    named = config.model.checkpoint in ("champion", "champion-or-base")
    base = BASE if named else resolve_checkpoint(config)
    start, champion = base, ""
    if find_store(run, config.tracking).exists:
        registry = open_registry(run, config.tracking, config.promote.registered_as)
        if (version := registry.alias(CHAMPION)) is not None:
            start, champion = registry.folder(version, run.champions), version.number
    night = Night(
        name=name,
        began=now(),
        data=clips.digest,
        num_clips=len(clips.digests),
        num_new=num_new,
        start=str(start.resolve()),
        champion=champion,
        base=str(base.resolve()),
    )
    write_clips(run.root, clips.digests)
    write_settings(_config_of(config, night, keeps_model=False))
    write_night(nights, night)
    return night


def _continue(
    config: Config, night: Night, budget: TimeBudget, notify: Notify, changes: Sequence[str] = ()
) -> dict[str, Any]:
    """Take ``night`` through its remaining stages to its report; it is finished when everything else is done."""
    nights = config.run_dir.parent
    if night.stages:
        print_message(f"night {night.name} continues after {night.stages[-1]}")
    for line in changes:
        print_message(f"{line}; from the next night on")
    with run_dir_lock(config.run_dir):
        write_settings(config)
        with pipeline_run(config, "nightly") as tracker:
            for stage in STAGES:
                if not night.has(stage.name):
                    night = _run_stage(stage, StageContext(config=config, night=night, tracker=tracker, budget=budget))
                    write_night(nights, night)
            report = _finish(config, night, tracker)
    notify(report)
    night = replace(night, outcome=report["outcome"])
    remove_expired(config, nights, [*(other for other in list_nights(nights) if other.is_finished), night])
    write_night(nights, night)
    return report


def _run_stage(stage: Stage, context: StageContext) -> Night:
    context.budget.require_time()
    get_console().rule(stage.name)
    began = time.monotonic()
    try:
        with nullcontext() if stage.stops_itself else context.budget.interrupting():
            night = stage.run(context) or context.night
    except Exception as error:
        error.add_note(f"in the stage {stage.name} of night {context.night.name}")
        raise
    return night.after(stage.name, time.monotonic() - began)


def _finish(config: Config, night: Night, tracker: Tracker) -> dict[str, Any]:
    report = write_report(config, night)
    for name in (REPORT_JSON, REPORT_PAGE):
        tracker.log_artifact(config.run_dir / name)
    tracker.set_tags({"driveforge.night": report["outcome"], "driveforge.data": night.data})
    send_queued(tracker)
    print_result(report["text"])
    print_result(f"report: {config.run_dir / REPORT_PAGE}")
    return report


def _nothing_new(nights: Path, clips: TrainingClips) -> dict[str, Any]:
    last = next((night for night in reversed(list_nights(nights)) if night.outcome != "superseded"), None)
    text = f"no new data: all {len(clips.digests)} clips were in earlier nights" + (
        f", the last one {last.name} ({last.outcome})" if last else ""
    )
    print_message(text)
    return {
        "status": int(Status.NO_NEW_DATA),
        "outcome": "no-new-data",
        "text": f"driveforge: {text}",
        "data": {"digest": clips.digest, "clips": len(clips.digests), "new_clips": 0},
        "night": last.name if last else None,
    }


def _send_queued_of_nights(config: Config) -> None:
    """Send what finished nights could not send, because the server was down at their end."""
    for night in list_nights(config.run_dir):
        run = RunDir(config.run_dir / night.name)
        if night.is_finished and run.mlflow_outbox.exists():
            store = find_store(run, config.tracking)
            Outbox(open_store(store), store.uri, run.mlflow_outbox).close()


def require_base(config: Config) -> None:
    """Raise UserError if a night cannot fine-tune: it has a generator class instead of a model."""
    if config.model.generator is not None:
        raise UserError("model.generator cannot be fine-tuned: unset it, or generate with `driveforge generate`")
