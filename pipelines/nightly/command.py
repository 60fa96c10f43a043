"""The command ``nightly``: one pass under a lock, with documented exit statuses, a summary and a webhook."""

import argparse
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import find_write_error
from driveforge.datasets.files.lock import LockedError, describe_holder, file_lock
from driveforge.finetune.training.time_limit import TimeIsUp
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.inputs import require_inputs
from driveforge.pipelines.config.saved import with_absolute_paths
from driveforge.pipelines.console import print_message
from driveforge.pipelines.export.nuscenes import open_merged_root
from driveforge.pipelines.generate.executors.execution import require_executor
from driveforge.pipelines.inputs.instruments import load_instruments
from driveforge.pipelines.nightly.night import find_unfinished
from driveforge.pipelines.nightly.night_pass import Notify, require_base, run_pass
from driveforge.pipelines.nightly.probes import with_held_out_clips
from driveforge.pipelines.nightly.stages import StageError
from driveforge.pipelines.nightly.status import Status
from driveforge.pipelines.nightly.store_access import StoreUnavailableError
from driveforge.pipelines.nightly.time_budget import TimeBudget
from driveforge.pipelines.nightly.webhook import find_webhook, post_summary
from driveforge.pipelines.registry.models import require_clip_size
from driveforge.pipelines.run.command import require_calibration

LOCK_FILE = ".nightly.lock"
_READ_SECTIONS = ("data", "replay", "model", "finetune", "evaluate")


def main(config: Config, args: argparse.Namespace) -> int:
    """Take one pass; returns its exit status."""
    config = with_absolute_paths(config)
    budget = TimeBudget.of_hours(config.nightly.hours)
    webhook = find_webhook(config.nightly.webhook)
    notify = partial(post_summary, webhook) if webhook else _tell_nobody
    with _stdout_for_summary() if args.json else _no_summary() as print_summary:
        summary = _locked_pass(config, budget, notify, force=args.force)
        print_summary(summary)
    return int(summary["status"])


def _tell_nobody(summary: dict[str, Any]) -> None:
    """Without a webhook."""


def _locked_pass(config: Config, budget: TimeBudget, notify: Notify, *, force: bool) -> dict[str, Any]:
    """The summary of a pass; of one that could not begin because another one is running, or of a failed one."""
    lock = config.run_dir / LOCK_FILE
    left_by = describe_holder(lock) if lock.exists() else ""
    try:
        with file_lock(lock, blocking=False):
            if left_by:
                print_message(f"the pass of {left_by} was killed; this one continues")
            return _reported_pass(config, budget, notify, force=force)
    except LockedError as error:
        print_message(str(error))
        return _failure(config, Status.ALREADY_RUNNING, "already-running", str(error))


def _reported_pass(config: Config, budget: TimeBudget, notify: Notify, *, force: bool) -> dict[str, Any]:
    """The summary of a pass, also if it fails."""
    try:
        return run_pass(_require_valid(config), budget, notify, force=force)
    except BaseException as error:
        if not isinstance(error, Exception) and not budget.has_interrupted.is_set():
            raise
        summary = _failure(config, *_explain(error, budget, config))
    notify(summary)
    return summary


def _explain(error: BaseException, budget: TimeBudget, config: Config) -> tuple[Status, str, str]:
    """Print why a pass ended before its report; returns the status, the outcome and the error."""
    if isinstance(error, TimeIsUp) or budget.has_interrupted.is_set():
        for process in multiprocessing.active_children():
            process.kill()
        print_message(text := "the time budget is used up; the next pass continues")
        return Status.TIME_IS_UP, "time-is-up", text
    refusal = error if isinstance(error, UserError) else find_write_error(error, config.run_dir)
    if refusal is not None:
        print_message(str(refusal))
        return Status.USER_ERROR, "user-error", str(refusal)
    if isinstance(error, StageError | StoreUnavailableError):
        print_message(str(error))
    else:
        traceback.print_exception(error)
    return Status.FAILED, "failed", f"{type(error).__name__}: {error}"


def _require_valid(config: Config) -> Config:
    """``config`` with clips to evaluate on; raises UserError before hours of work if something is missing."""
    require_base(config)
    require_inputs(config, _READ_SECTIONS)
    require_clip_size(config)
    require_calibration(config.validate.calibration)
    require_executor(config.executor)
    load_instruments(config.validate)
    open_merged_root(config.run, config.export)
    return with_held_out_clips(config)


def _failure(config: Config, status: Status, outcome: str, error: str) -> dict[str, Any]:
    """The summary of a pass that ended before its report, with the night that the next pass continues."""
    try:
        night = find_unfinished(config.run_dir)
    except UserError:
        night = None
    return {
        "status": int(status),
        "outcome": outcome,
        "text": f"driveforge: {error}",
        "night": night.name if night else None,
        "stages": list(night.stages) if night else [],
    }


@contextmanager
def _no_summary() -> Iterator[Callable[[dict[str, Any]], None]]:
    yield lambda summary: None


@contextmanager
def _stdout_for_summary() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Everything that is printed in the block goes to stderr, also by other processes; the summary to stdout."""
    sys.stdout.flush()
    stream, stdout = sys.stdout, os.dup(1)
    os.dup2(2, 1)
    summaries: list[dict[str, Any]] = []
    try:
        with redirect_stdout(sys.stderr):
            yield summaries.append
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        for summary in summaries:
            stream.write(json.dumps(summary, indent=2) + "\n")
            stream.flush()
