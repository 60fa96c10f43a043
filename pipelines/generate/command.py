"""The generate stage: generate and measure candidates, committed unit by unit to ``<run_dir>/candidates``."""

import argparse
import time
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.opening import open_store, share
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message, print_result
from driveforge.pipelines.generate.commit import QUARANTINE_FOLDER, CommitLog
from driveforge.pipelines.generate.executors.execution import require_executor
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.generator import GeneratorLoader
from driveforge.pipelines.generate.plan.prepare import prepare_plan
from driveforge.pipelines.generate.plan.recorded import open_recorded
from driveforge.pipelines.generate.plan.summary import describe_sources
from driveforge.pipelines.generate.second_chances import attempt_again, require_calibration_for_retries
from driveforge.pipelines.generate.select import (
    SelectedGenerator,
    generator_digest,
    load_selected,
    prepare_captions,
    require_generable,
    select_generator,
)
from driveforge.pipelines.generate.unit_runs import commit_units
from driveforge.pipelines.generate.units import PLAN_FILE, GenerationPlan
from driveforge.pipelines.generate.worker import GenerationWorker
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.validation.instruments import Instruments

# Failed units whose errors are printed; all are in their quarantine records.
_MAX_PRINTED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSummary:
    """``num_made`` clips of this call, ``num_committed`` of the plan in total.

    ``failed`` maps units to the last lines of their errors; ``exceeds_budget`` if they are more than may fail.
    """

    plan: str
    num_made: int
    num_committed: int
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)
    exceeds_budget: bool = False


def main(config: Config, args: argparse.Namespace) -> int:
    """Plan, generate and commit; exit status 1 if more units failed than the failure budget allows."""
    require_executor(config.executor)  # before imports that take seconds
    with pipeline_run(config, "generation") as tracker:
        summary = generate_candidates(config)
        log_generation(summary, tracker)
    print_result(f"{summary.num_committed} candidates in {config.run.candidates}, {summary.num_made} of them new")
    print_failures(summary, config.run.candidates)
    return 1 if summary.exceeds_budget else 0


def print_failures(summary: GenerationSummary, candidates: Path) -> None:
    """Print the failed units, and how to try them again."""
    for unit, error in list(summary.failed.items())[:_MAX_PRINTED]:
        print_result(error, prefix=f"{unit} failed: ", style="red")
    if summary.failed:
        where = open_store(candidates).describe(QUARANTINE_FOLDER)
        budget = "more" if summary.exceeds_budget else "not more"
        print_result(
            f"{len(summary.failed)} units failed, {budget} than executor.failure_budget; requests and tracebacks are "
            f"in {where}; run the same command again to try them again"
        )


def log_generation(summary: GenerationSummary, tracker: Tracker) -> None:
    tracker.log_metrics(
        {"clips": summary.num_committed, "seconds": summary.seconds, "failed_units": len(summary.failed)}
    )


def generate_candidates(config: Config) -> GenerationSummary:
    """Generate all candidates of ``config`` with its own generator, else the run's model, else the checkpoint."""
    selected, root = select_generator(config), config.run.candidates
    load_instruments(config.validate)  # fails early if something is missing
    require_calibration_for_retries(config.generate, config.calibration_path)
    recorded = open_recorded(config.data, root, config.generate)
    require_generable(selected, recorded.scenes, config.generate)
    store = open_store(root)
    fetch_plan(store)
    plan, summary = prepare_plan(root, recorded, config.generate, generator_digest(selected))
    if not share(store, PLAN_FILE):
        raise UserError(f"{store.describe(PLAN_FILE)} was created meanwhile with other settings: use another run_dir")
    for line in describe_sources(summary):
        print_message(line)
    prepare_captions(selected, summary.captions)
    return generate_plan(config, selected, plan)


def generate_plan(config: Config, selected: SelectedGenerator, plan: GenerationPlan) -> GenerationSummary:
    """Generate what is missing of ``plan``, and make further attempts as ``generate.retries`` says."""
    root, instruments = config.run.candidates, partial(load_instruments, config.validate)
    summaries = []

    def make(plan: GenerationPlan) -> None:
        share_parts(open_store(root), plan)
        summaries.append(generate(root, plan, partial(load_selected, selected), config.executor, instruments))

    make(plan)
    attempt_again(root, config.generate, config.calibration_path, make)
    return replace(
        summaries[-1],
        num_made=sum(one.num_made for one in summaries),
        seconds=sum(one.seconds for one in summaries),
        failed={unit: error for one in summaries for unit, error in one.failed.items()},
        exceeds_budget=any(one.exceeds_budget for one in summaries),
    )


def fetch_plan(store: Store) -> None:
    """Fetch the plan with the parts of its further attempts, if its run is in an object store."""
    store.fetch(PLAN_FILE, again=True)
    for number in count(2):
        if not store.fetch(f"plan-{number:02d}.jsonl", again=True).exists():
            return


def share_parts(store: Store, plan: GenerationPlan) -> None:
    """Upload the parts of further attempts; raises UserError if another driver made other ones."""
    for number in range(2, len(plan.part_digests) + 1):
        if not share(store, name := f"plan-{number:02d}.jsonl"):
            raise UserError(f"{store.describe(name)} was created meanwhile by another driver: run this again")


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
    store, start = open_store(root), time.monotonic()
    results = commit_units(store, plan.units, partial(GenerationWorker, loader, store, instruments), executor)
    committed = frozenset(CommitLog(store).committed_units())
    return GenerationSummary(
        plan=plan.id,
        num_made=results.num_made,
        num_committed=sum(len(unit.requests) for unit in plan.units if unit.id in committed),
        seconds=time.monotonic() - start,
        failed=results.failed,
        exceeds_budget=results.exceeds_budget,
    )
