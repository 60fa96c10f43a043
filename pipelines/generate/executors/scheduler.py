"""The scheduler: distributes units over a fixed number of worker processes, restarts them, and retries units.

A process gets its next unit only after its last result has arrived. Otherwise results in transit would be lost when it
terminates, and it would be unknown which queued unit caused it. The pause costs about a millisecond per unit.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from statistics import median

from driveforge.datasets.errors import UserError
from driveforge.pipelines.console import print_message
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.interface import ProcessPool, TaskResult, UnitOutcome, WorkerProcess
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import WorkUnit

# Seconds; a busy machine may delay even the fastest unit by this much.
MIN_TIMEOUT = 30.0
# Seconds without a result before a message is printed; doubled after each message.
SILENCE_SECONDS = 30.0
_TICK = 0.5
# The median of the time limit is that of the last units.
_NUM_DURATIONS = 1000


@dataclass(kw_only=True, slots=True, eq=False)
class _Slot:
    """One process, busy since ``since`` with ``unit``, or with its own start while ``unit`` is None."""

    process: WorkerProcess
    since: float
    busy: bool = True
    started: bool = False
    unit: WorkUnit | None = None


class _Queue:
    """The units to make, taken from an iterable one by one: a plan may be longer than memory.

    Failed units are tried again after the others, or after ``max_failed`` failures. Units that were interrupted often,
    possibly because they crash the machine, come last.
    """

    def __init__(self, units: Iterable[WorkUnit], last: Set[str], max_failed: int) -> None:
        self._units, self._last_ids, self._max_failed = iter(units), last, max_failed
        self._failed: deque[WorkUnit] = deque()
        self._last: deque[WorkUnit] = deque()
        self._next: WorkUnit | None = None

    def __bool__(self) -> bool:
        if self._next is None:
            self._next = self._find_next()
        return self._next is not None

    def take(self) -> WorkUnit:
        """Remove the next unit; the queue must not be empty."""
        assert self
        unit, self._next = self._next, None
        assert unit is not None
        return unit

    def put_back(self, unit: WorkUnit) -> None:
        """Take ``unit`` again later."""
        self._failed.append(unit)

    def _find_next(self) -> WorkUnit | None:
        if len(self._failed) >= self._max_failed:
            return self._failed.popleft()
        for unit in self._units:
            if unit.id not in self._last_ids:
                return unit
            self._last.append(unit)
        for waiting in (self._failed, self._last):
            if waiting:
                return waiting.popleft()
        return None


class UnitScheduler:
    """Runs units on ``workers`` processes of ``pool``; records every attempt in ``log`` before it starts."""

    def __init__(self, pool: ProcessPool, *, workers: int, settings: ExecutorSettings, log: AttemptLog) -> None:
        self._pool = pool
        self._num_workers = workers
        self._settings = settings
        self._log = log
        self._failed_starts = 0
        self._durations: deque[float] = deque(maxlen=_NUM_DURATIONS)
        self._slots: list[_Slot] = []
        self._last_result_at = time.monotonic()
        self._report_after = SILENCE_SECONDS

    def make(self, units: Iterable[WorkUnit]) -> Iterator[UnitOutcome]:
        """Yield an outcome for every unit as it finishes; raises UserError if the workers cannot start."""
        last = self._log.interrupted_units(self._settings.max_attempts)
        queue = _Queue(units, last, max_failed=4 * self._num_workers)
        try:
            self._slots = [self._start_slot() for _ in range(self._num_workers)]
            while queue or any(slot.unit for slot in self._slots):
                for slot in self._slots:
                    if not slot.busy and queue:
                        self._submit(slot, queue.take())
                for slot, result in self._finished_tasks():
                    unit = slot.unit
                    if unit is None:
                        self._finish_start(slot, result)
                    elif outcome := self._finish_unit(slot, unit, result):
                        yield outcome
                    else:
                        queue.put_back(unit)
        finally:
            for slot in self._slots:
                slot.process.kill()

    def _start_slot(self) -> _Slot:
        return _Slot(process=self._pool.start(), since=time.monotonic())

    def _restart(self, slot: _Slot) -> None:
        slot.process, slot.since = self._pool.start(), time.monotonic()
        slot.busy, slot.started, slot.unit = True, False, None

    def _submit(self, slot: _Slot, unit: WorkUnit) -> None:
        self._log.record_start(unit.id)
        slot.busy, slot.unit, slot.since = True, unit, time.monotonic()
        slot.process.submit(unit)

    def _finished_tasks(self) -> list[tuple[_Slot, TaskResult]]:
        """The tasks that have finished, or that were stopped because they took too long."""
        slots = {id(slot.process): slot for slot in self._slots if slot.busy}
        results = self._pool.wait([slot.process for slot in slots.values()], _TICK)
        if results:
            self._last_result_at, self._report_after = time.monotonic(), SILENCE_SECONDS
            return [(slots[id(result.process)], result) for result in results]
        self._report_silence()
        return [(slot, self._stop_overdue(slot)) for slot in slots.values() if self._is_overdue(slot)]

    def _is_overdue(self, slot: _Slot) -> bool:
        if slot.unit is None and any(other.started for other in self._slots):
            return False  # the cluster may have resources for this worker later
        limit = self._timeout() if slot.unit else self._settings.first_timeout
        return time.monotonic() - slot.since > limit

    def _timeout(self) -> float:
        """The time limit of a unit, s."""
        if not self._durations:
            return self._settings.first_timeout
        return max(MIN_TIMEOUT, self._settings.timeout_factor * median(self._durations))

    def _stop_overdue(self, slot: _Slot) -> TaskResult:
        seconds = time.monotonic() - slot.since
        slot.process.kill()
        has_unit = slot.unit is not None
        return TaskResult(process=slot.process, error=f"stopped after {seconds:.0f} s", has_died=has_unit)

    def _report_silence(self) -> None:
        silence = time.monotonic() - self._last_result_at
        if silence < self._report_after:
            return
        self._report_after *= 2
        busy = [slot.unit.id if slot.unit else "the start of a worker" for slot in self._slots if slot.busy]
        limit = self._timeout() if any(slot.unit for slot in self._slots) else self._settings.first_timeout
        print_message(f"no result for {silence:.0f} s; running: {', '.join(busy)}; time limit {limit:.0f} s")

    def _finish_start(self, slot: _Slot, result: TaskResult) -> None:
        if result.has_died:
            self._failed_starts += 1
            if self._failed_starts >= self._settings.max_attempts:
                raise UserError(f"workers terminated {self._failed_starts} times while starting: {result.error}")
            self._restart(slot)
        elif result.error:
            raise UserError(f"a worker cannot start: {result.error.strip().splitlines()[-1]}")
        else:
            self._failed_starts = 0
            slot.busy, slot.started = False, True

    def _finish_unit(self, slot: _Slot, unit: WorkUnit, result: TaskResult) -> UnitOutcome | None:
        """The outcome of ``unit``; None if it is to be tried again."""
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
        return UnitOutcome(unit=unit.id, attempts=attempts, error=result.error, requests=unit.requests)
