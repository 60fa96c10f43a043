"""A fixed number of worker processes that make units, survive the death of any of them, and give up on units that kill.

A process is given its next unit when its last result has arrived, never before: replies still under way are lost when
a process dies, and with a queue behind it nobody could tell which unit to blame. The pause costs a millisecond a unit.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from driveforge.datasets.errors import UserError
from driveforge.pipelines.console import print_message
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.interface import ProcessPool, TaskResult, UnitOutcome, WorkerProcess
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import Unit

# A busy machine may hold up the quickest unit for so long.
MIN_TIMEOUT = 30.0
# How long nothing may be heard before something is said; then twice as long, and so on.
SILENCE_SECONDS = 30.0
_TICK = 0.5


@dataclass(kw_only=True, slots=True, eq=False)
class _Slot:
    """A place for a process, busy since ``since``: with ``unit``, or with its start while ``unit`` is None."""

    process: WorkerProcess
    since: float
    busy: bool = True
    started: bool = False
    unit: Unit | None = None


class UnitScheduler:
    """``workers`` processes of ``pool``; every attempt is noted in ``log`` before it begins."""

    def __init__(self, pool: ProcessPool, *, workers: int, settings: ExecutorSettings, log: AttemptLog) -> None:
        self._pool = pool
        self._num_workers = workers
        self._settings = settings
        self._log = log
        self._failed_starts = 0
        self._durations: list[float] = []
        self._slots: list[_Slot] = []
        self._last_result_at = time.monotonic()
        self._report_after = SILENCE_SECONDS

    def make(self, units: Sequence[Unit]) -> Iterator[UnitOutcome]:
        """An outcome for every unit, as they come; a UserError if the workers themselves cannot start."""
        pending = deque(self._log.order_units(units, self._settings.max_attempts))
        try:
            self._slots = [self._start_slot() for _ in range(self._num_workers)]
            while pending or any(slot.unit for slot in self._slots):
                for slot in self._slots:
                    if pending and not slot.busy:
                        self._submit(slot, pending.popleft())
                for slot, result in self._finished_tasks():
                    unit = slot.unit
                    if unit is None:
                        self._finish_start(slot, result)
                    elif outcome := self._finish_unit(slot, unit, result):
                        yield outcome
                    else:
                        pending.append(unit)
        finally:
            for slot in self._slots:
                slot.process.kill()

    def _start_slot(self) -> _Slot:
        return _Slot(process=self._pool.start(), since=time.monotonic())

    def _restart(self, slot: _Slot) -> None:
        slot.process, slot.since = self._pool.start(), time.monotonic()
        slot.busy, slot.started, slot.unit = True, False, None

    def _submit(self, slot: _Slot, unit: Unit) -> None:
        self._log.record_start(unit.id)
        slot.busy, slot.unit, slot.since = True, unit, time.monotonic()
        slot.process.submit(unit)

    def _finished_tasks(self) -> list[tuple[_Slot, TaskResult]]:
        """The tasks that have ended, by themselves or because they took too long."""
        slots = {id(slot.process): slot for slot in self._slots if slot.busy}
        results = self._pool.wait([slot.process for slot in slots.values()], _TICK)
        if results:
            self._last_result_at, self._report_after = time.monotonic(), SILENCE_SECONDS
            return [(slots[id(result.process)], result) for result in results]
        self._report_silence()
        return [(slot, self._stop_overdue(slot)) for slot in slots.values() if self._is_overdue(slot)]

    def _is_overdue(self, slot: _Slot) -> bool:
        if slot.unit is None and any(other.started for other in self._slots):
            return False  # a cluster that has no room for one more worker may get it later
        limit = self._timeout() if slot.unit else self._settings.first_timeout
        return time.monotonic() - slot.since > limit

    def _timeout(self) -> float:
        """Seconds that a unit may take."""
        if not self._durations:
            return self._settings.first_timeout
        return max(MIN_TIMEOUT, self._settings.timeout_factor * median(self._durations))

    def _stop_overdue(self, slot: _Slot) -> TaskResult:
        seconds = time.monotonic() - slot.since
        slot.process.kill()
        unit = slot.unit is not None
        return TaskResult(process=slot.process, error=f"stopped after {seconds:.0f} s without an end", has_died=unit)

    def _report_silence(self) -> None:
        silence = time.monotonic() - self._last_result_at
        if silence < self._report_after:
            return
        self._report_after *= 2
        busy = [slot.unit.id if slot.unit else "the start of a worker" for slot in self._slots if slot.busy]
        limit = self._timeout() if any(slot.unit for slot in self._slots) else self._settings.first_timeout
        print_message(
            f"nothing was finished for {silence:.0f} s; under way: {', '.join(busy)}; stopped after {limit:.0f} s"
        )

    def _finish_start(self, slot: _Slot, result: TaskResult) -> None:
        if result.has_died:
            self._failed_starts += 1
            if self._failed_starts >= self._settings.max_attempts:
                raise UserError(f"workers die while they start, {self._failed_starts} times now: {result.error}")
            self._restart(slot)
        elif result.error:
            raise UserError(f"a worker cannot start: {result.error.strip().splitlines()[-1]}")
        else:
            self._failed_starts = 0
            slot.busy, slot.started = False, True

    def _finish_unit(self, slot: _Slot, unit: Unit, result: TaskResult) -> UnitOutcome | None:
        """The outcome of ``unit``; None where it is to be tried again."""
        slot.busy, slot.unit = False, None
        if result.is_fatal:
            raise UserError(result.error)
        if not result.error:
            self._durations.append(time.monotonic() - slot.since)
            attempts = self._log.read(unit.id).num_failed + 1
            self._log.clear(unit.id)
            return UnitOutcome(unit=unit.id, attempts=attempts, record=result.record)
        if result.has_died:
            self._restart(slot)
        attempts = self._log.record_failure(unit.id)
        if attempts < self._settings.max_attempts:
            return None
        self._log.clear(unit.id)
        return UnitOutcome(unit=unit.id, attempts=attempts, error=result.error)
