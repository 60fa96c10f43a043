"""A fixed number of Ray actors that make units, survive the death of any of them, and give up on units that kill.

Ray Core, not Ray Data: the latter retries a row that kills its process for ever. An actor is given its next unit when
its last result has arrived, never before: replies still under way are lost when a process dies, and with a queue behind
it nobody could tell which unit to blame. The pause costs a millisecond a unit.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from datasets.errors import UserError
from pipelines.executors.work import UnitOutcome, Worker, WorkerFactory
from pipelines.generation.units import Unit


class _Actor:
    """Runs in the actor's process: the constructor is cheap, ``start`` loads the model."""

    def __init__(self, factory: WorkerFactory) -> None:
        self._factory = factory
        self._worker: Worker | None = None

    def start(self) -> None:
        self._worker = self._factory()

    def make(self, unit: Unit) -> dict[str, Any]:
        assert self._worker is not None
        return self._worker.make(unit)


@dataclass(kw_only=True, slots=True, eq=False)
class _Seat:
    """A place for an actor: ``task`` is its start while ``unit`` is None, then the unit it makes; None when idle."""

    actor: Any
    task: Any
    unit: Unit | None = None


class Fleet:
    """``workers`` actors in a connected Ray, each started with ``factory``."""

    def __init__(self, factory: WorkerFactory, *, workers: int, max_attempts: int) -> None:
        self._factory = factory
        self._max_attempts = max_attempts
        self._gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0) / workers)
        self._failed_starts = 0
        self._failures: dict[str, int] = {}
        self._seats = [self._hire() for _ in range(workers)]

    def make(self, units: Sequence[Unit]) -> Iterator[UnitOutcome]:
        """An outcome for every unit, as they come; a UserError if the workers themselves cannot start."""
        waiting = deque(units)
        while waiting or any(seat.unit for seat in self._seats):
            for seat in self._seats:
                if waiting and seat.task is None:
                    seat.unit = waiting.popleft()
                    seat.task = seat.actor.make.remote(seat.unit)
            tasks = {seat.task: seat for seat in self._seats if seat.task is not None}
            (done,), _ = ray.wait(list(tasks), num_returns=1)
            seat = tasks[done]
            if seat.unit is None:
                self._finish_start(seat)
                continue
            unit, outcome = seat.unit, self._finish_unit(seat)
            if outcome.error and outcome.attempts < self._max_attempts:
                waiting.append(unit)
            else:
                yield outcome

    def _hire(self) -> _Seat:
        actor = ray.remote(_Actor).options(num_cpus=1, num_gpus=self._gpus, max_restarts=0).remote(self._factory)
        return _Seat(actor=actor, task=actor.start.remote())

    def _replace(self, seat: _Seat) -> None:
        fresh = self._hire()
        seat.actor, seat.task, seat.unit = fresh.actor, fresh.task, None

    def _finish_start(self, seat: _Seat) -> None:
        try:
            ray.get(seat.task)
        except RayActorError as death:
            self._failed_starts += 1
            if self._failed_starts >= self._max_attempts:
                raise UserError(f"workers die while they start, {self._failed_starts} times now: {death}") from death
            self._replace(seat)
        except RayTaskError as failure:
            raise UserError(f"a worker cannot start: {failure.cause}") from failure
        else:
            self._failed_starts = 0
            seat.task = None

    def _finish_unit(self, seat: _Seat) -> UnitOutcome:
        assert seat.unit is not None
        unit, task = seat.unit.id, seat.task
        seat.unit = seat.task = None
        attempts = self._failures.get(unit, 0) + 1
        try:
            return UnitOutcome(unit=unit, attempts=attempts, record=ray.get(task))
        except RayActorError as death:
            self._replace(seat)
            error = f"the worker's process died: {death}"
        except RayTaskError as failure:
            error = str(failure)
        self._failures[unit] = attempts
        return UnitOutcome(unit=unit, attempts=attempts, error=error)
