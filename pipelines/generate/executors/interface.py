"""The interfaces between executors and workers: workers, outcomes, processes and pools.

A worker is created once per process, where it loads the model. It then makes and commits units one by one, so that only
small records are sent between processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import WriteError, find_write_error
from driveforge.pipelines.generate.requests import Request
from driveforge.pipelines.generate.units import WorkUnit


class FatalError(UserError):
    """An error that every other unit would raise too, so it ends the run instead of being tried again."""


# Errors that end the run; on a full disk no other unit can be committed either.
FATAL_ERRORS = (WriteError, FatalError)


class Worker(Protocol):
    def make(self, unit: WorkUnit) -> dict[str, Any]:
        """Make and commit ``unit``; returns a small record of JSON values."""


def run_worker(worker: Worker, unit: WorkUnit) -> dict[str, Any]:
    """Make ``unit``; raises WriteError if a library's error was caused by a full disk.

    The cause is checked here, since it is lost when an error is sent to another process.
    """
    try:
        return worker.make(unit)
    except FATAL_ERRORS:
        raise
    except Exception as error:
        if (refusal := find_write_error(error, Path.cwd())) is None:
            raise
        raise refusal from error


# Called in the worker's process; must be picklable by reference.
WorkerFactory = Callable[[], Worker]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitOutcome:
    """The outcome of a unit: ``error`` is "" on success, else the traceback or exit reason of the last attempt.

    ``requests`` are those of a failed unit.
    """

    unit: str
    attempts: int
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    requests: Sequence[Request] = ()


class WorkerProcess(Protocol):
    """A process with a worker, which runs one task at a time: first its start, then one unit after another."""

    def submit(self, unit: WorkUnit) -> None:
        """Start ``unit``; the process must be idle."""

    def kill(self) -> None:
        """Kill the process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """The result of a task of ``process``: a ``record``, or an ``error``, which may have terminated the process.

    A fatal error, one of ``FATAL_ERRORS``, ends the run.
    """

    process: WorkerProcess
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    has_died: bool = False
    is_fatal: bool = False


class ProcessPool(Protocol):
    """Starts worker processes, on this machine or in a Ray cluster."""

    def start(self) -> WorkerProcess:
        """Start a process; its first task is to create its worker."""

    def wait(self, busy: Sequence[WorkerProcess], timeout: float) -> list[TaskResult]:
        """Wait until a task of ``busy`` has finished; returns the finished ones, or none after ``timeout`` seconds."""
