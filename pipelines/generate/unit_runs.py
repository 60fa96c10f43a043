"""Runs of the units of a plan that are not committed yet, beside a check of those that are."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from driveforge.datasets.progress import show_progress
from driveforge.datasets.stores.interface import Store
from driveforge.pipelines.generate.commit import CommitLog, remove_scratch, remove_unreferenced
from driveforge.pipelines.generate.commit_check import CommitCheck
from driveforge.pipelines.generate.costs import CostLog
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import run_units
from driveforge.pipelines.generate.executors.interface import UnitOutcome, WorkerFactory
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import WorkUnit

# So few failed units do not end a run early, whatever their share.
_FEW_FAILURES = 3


@dataclass(kw_only=True, slots=True)
class UnitResults:
    """``num_made`` clips of new units; the last lines of the errors of failed units; ``num_units`` of the plan."""

    num_units: int
    failure_budget: float
    num_made: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def exceeds_budget(self) -> bool:
        """Whether the share of failed units is larger than the budget."""
        return len(self.failed) > self.failure_budget * self.num_units

    @property
    def ends_early(self) -> bool:
        return self.exceeds_budget and len(self.failed) >= _FEW_FAILURES


def commit_units(
    root: Path | Store, units: Sequence[WorkUnit], factory: WorkerFactory, executor: ExecutorSettings
) -> UnitResults:
    """Let workers make every unit that is not committed under ``root`` yet; quarantine units that keep failing.

    Committed units are checked meanwhile, so that work begins at once, and generated again if they are damaged. Ends
    early if the failure budget is exceeded.
    """
    log = CommitLog(root)
    is_local = not log.store.is_remote  # elsewhere, another driver may be committing
    committed = frozenset(log.committed_units())
    if is_local:
        remove_unreferenced(log.root, committed)
    results = UnitResults(num_units=len(units), failure_budget=executor.failure_budget)
    try:
        with CommitCheck(log, units, committed) as check:
            pending = _uncommitted(units, committed, log)
            _make(pending, len(units) - len(committed), log, factory, executor, results, check.start)
            damaged = [] if results.ends_early else check.finish()
        if damaged:
            _make(damaged, len(damaged), log, factory, executor, results, check.start)
            if is_local:
                remove_unreferenced(log.root)
    finally:
        if is_local:
            remove_scratch(log.root)
    return results


def _uncommitted(units: Iterable[WorkUnit], committed: Set[str], log: CommitLog) -> Iterator[WorkUnit]:
    """The units that were not committed at the start, nor by another driver until they are taken."""
    for unit in units:
        if unit.id not in committed and not (log.store.is_remote and log.is_committed(unit.id)):
            yield unit


def _make(
    units: Iterable[WorkUnit],
    num_units: int,
    log: CommitLog,
    factory: WorkerFactory,
    executor: ExecutorSettings,
    results: UnitResults,
    on_outcome: Callable[[], None],
) -> None:
    """Make ``units`` with a progress bar, and add to ``results`` and to the costs; call ``on_outcome`` after each."""
    costs = CostLog(log.store)
    for outcome in _outcomes(units, num_units, log, factory, executor):
        on_outcome()
        if outcome.error:
            log.quarantine(outcome.unit, outcome.error, outcome.requests)
            results.failed[outcome.unit] = outcome.error.strip().splitlines()[-1]
            if results.ends_early:
                return
        else:
            results.num_made += outcome.record["clips"]
            if "gpus" in outcome.record:
                gpus = min(outcome.record["gpus"], executor.gpus_per_worker or 1.0)
                costs.record(outcome.unit, **outcome.record | {"gpus": gpus})


def _outcomes(
    units: Iterable[WorkUnit], num_units: int, log: CommitLog, factory: WorkerFactory, executor: ExecutorSettings
) -> Iterator[UnitOutcome]:
    attempts = AttemptLog(log.store)
    for unit_id in attempts.recorded_units():
        if log.is_committed(unit_id):
            attempts.clear(unit_id)  # left over if a run was killed between commit and clear
    columns = (TextColumn("Generating"), BarColumn(), MofNCompleteColumn(), TextColumn("units,"), TimeRemainingColumn())
    with show_progress(Progress(*columns, disable=not num_units)) as progress:
        bar = progress.add_task("", total=num_units)
        for outcome in run_units(units, factory, executor, attempts):
            progress.advance(bar)
            yield outcome
