"""The generate stage: generate and measure candidates, committed unit by unit to ``<run_dir>/candidates``."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import show_progress, track
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message, print_result
from driveforge.pipelines.generate.commit import CommitLog, remove_scratch, remove_unreferenced
from driveforge.pipelines.generate.costs import CostLog
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import require_executor, run_units
from driveforge.pipelines.generate.executors.interface import UnitOutcome, WorkerFactory
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.generator import GeneratorLoader
from driveforge.pipelines.generate.plan.prepare import prepare_plan
from driveforge.pipelines.generate.plan.recorded import open_recorded
from driveforge.pipelines.generate.plan.summary import describe_sources
from driveforge.pipelines.generate.select import (
    generator_digest,
    load_selected,
    prepare_captions,
    require_generable,
    select_generator,
)
from driveforge.pipelines.generate.units import GenerationPlan, WorkUnit
from driveforge.pipelines.generate.worker import GenerationWorker
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.validation.instruments import Instruments


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSummary:
    """``num_made`` clips of this call, ``num_committed`` of the plan in total; ``failed`` maps units to errors."""

    plan: str
    num_made: int
    num_committed: int
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)


def main(config: Config, args: argparse.Namespace) -> int:
    """Plan, generate and commit; exit status 1 if a unit failed."""
    require_executor(config.executor)  # before imports that take seconds
    with pipeline_run(config, "generation") as tracker:
        summary = generate_candidates(config)
        log_generation(summary, tracker)
    print_result(f"{summary.num_committed} candidates in {config.run.candidates}, {summary.num_made} of them new")
    for unit, error in summary.failed.items():
        print_result(error.strip().splitlines()[-1], prefix=f"{unit} failed: ", style="red")
    return 1 if summary.failed else 0


def log_generation(summary: GenerationSummary, tracker: Tracker) -> None:
    tracker.log_metrics(
        {"clips": summary.num_committed, "seconds": summary.seconds, "failed_units": len(summary.failed)}
    )


def generate_candidates(config: Config) -> GenerationSummary:
    """Generate all candidates of ``config`` with its own generator, else the run's model, else the checkpoint."""
    selected, root = select_generator(config), config.run.candidates
    instruments = partial(load_instruments, config.validate)
    instruments()  # fails early if something is missing
    recorded = open_recorded(config.data, root, config.generate)
    require_generable(selected, recorded.scenes, config.generate)
    plan, summary = prepare_plan(root, recorded, config.generate, generator_digest(selected))
    for line in describe_sources(summary):
        print_message(line)
    prepare_captions(selected, summary.captions)
    return generate(root, plan, partial(load_selected, selected), config.executor, instruments)


def generate(
    root: Path,
    plan: GenerationPlan,
    loader: GeneratorLoader,
    executor: ExecutorSettings,
    instruments: InstrumentsLoader = Instruments,
) -> GenerationSummary:
    """Generate every unit of ``plan`` that is not committed under ``root`` yet; quarantine units that keep failing.

    ``loader`` and ``instruments`` run once in each worker; for Ray they must be picklable by reference, like a
    ``partial`` of a function.
    """
    log, start = CommitLog(root), time.monotonic()
    made, failed = commit_units(root, plan.units, partial(GenerationWorker, loader, root, instruments), executor)
    committed = sum(len(unit.requests) for unit in plan.units if log.is_committed(unit.id))
    return GenerationSummary(
        plan=plan.id, num_made=made, num_committed=committed, seconds=time.monotonic() - start, failed=failed
    )


def commit_units(
    root: Path, units: Sequence[WorkUnit], factory: WorkerFactory, executor: ExecutorSettings
) -> tuple[int, dict[str, str]]:
    """Let workers make every unit that is not committed under ``root`` yet; quarantine units that keep failing.

    Returns the number of clips of new units, and the errors of failed units.
    """
    log = CommitLog(root)
    invalidate_damaged(log, units)
    remove_unreferenced(root)
    made, failed, costs = 0, {}, CostLog(root)
    try:
        for outcome in _outcomes(units, log, factory, executor):
            if outcome.error:
                log.quarantine(outcome.unit, outcome.error)
                failed[outcome.unit] = outcome.error
            else:
                made += outcome.record["clips"]
                costs.record(outcome.unit, **outcome.record)
    finally:
        remove_scratch(root)
    return made, failed


def invalidate_damaged(log: CommitLog, units: Sequence[WorkUnit]) -> None:
    """Remove the markers of units whose tars are damaged, so that they are generated again; prints each."""
    committed = [unit for unit in units if log.is_committed(unit.id)]
    for unit in track(committed, "Checking committed units", disable=not committed):
        try:
            keys = tuple(log.read_verified(log.read_marker(unit.id)))
            if keys != unit.clip_ids:
                raise UserError("its clips are not those of the plan")
        except UserError as damage:
            print_result(damage, prefix=f"{unit.id} is generated again: ", style="yellow")
            log.invalidate(unit.id)


def _outcomes(
    units: Sequence[WorkUnit], log: CommitLog, factory: WorkerFactory, executor: ExecutorSettings
) -> Iterator[UnitOutcome]:
    """The outcomes of the uncommitted units, with a progress bar of clips."""
    pending, attempts = [unit for unit in units if not log.is_committed(unit.id)], AttemptLog(log.root)
    for unit in units:
        if log.is_committed(unit.id):
            attempts.clear(unit.id)  # left over if a run was killed between commit and clear
    sizes = {unit.id: len(unit.requests) for unit in units}
    total, num_pending = sum(sizes.values()), sum(sizes[unit.id] for unit in pending)
    columns = (TextColumn("Generating"), BarColumn(), MofNCompleteColumn(), TextColumn("clips,"), TimeRemainingColumn())
    with show_progress(Progress(*columns, disable=not pending)) as progress:
        bar = progress.add_task("", total=total, completed=total - num_pending)
        for outcome in run_units(pending, factory, executor, attempts):
            progress.advance(bar, sizes[outcome.unit])
            yield outcome
