"""Units made one after another in this process: for one-core machines, tests and debuggers."""

import traceback
from collections.abc import Iterator, Sequence

from pipelines.executors.work import UnitOutcome, Worker, WorkerFactory
from pipelines.generation.units import Unit


def run_units_here(units: Sequence[Unit], factory: WorkerFactory, max_attempts: int) -> Iterator[UnitOutcome]:
    """An outcome for every unit, in order."""
    worker = factory()
    for unit in units:
        yield _make(worker, unit, max_attempts)


def _make(worker: Worker, unit: Unit, max_attempts: int) -> UnitOutcome:
    error = ""
    for attempt in range(1, max_attempts + 1):
        try:
            return UnitOutcome(unit=unit.id, attempts=attempt, record=worker.make(unit))
        except Exception:
            error = traceback.format_exc()
    return UnitOutcome(unit=unit.id, attempts=max_attempts, error=error)
