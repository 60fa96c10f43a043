"""What executors are handed and what they give back: a worker that makes units, and the outcome of each.

A worker is made once in each process (that is where a model is loaded), then makes unit after unit and commits each by
itself, so that only small records cross between processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from driveforge.datasets.files.atomic import WriteError, find_write_error
from driveforge.pipelines.generate.units import Unit


class Worker(Protocol):
    def make(self, unit: Unit) -> dict[str, Any]:
        """Make and commit ``unit``; the returned record is small and plain."""


def run_worker(worker: Worker, unit: Unit) -> dict[str, Any]:
    """What ``worker`` tells of ``unit``; a WriteError too where a full disk is told by a library in words of its own.

    It is looked for here, since what an error was raised from does not reach another process.
    """
    try:
        return worker.make(unit)
    except WriteError:
        raise
    except Exception as error:
        if (refusal := find_write_error(error, Path.cwd())) is None:
            raise
        raise refusal from error


# Called in the worker's process; has to be picklable by reference to get there.
WorkerFactory = Callable[[], Worker]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitOutcome:
    """What became of a unit: ``error`` is "" when it was made, else the last attempt's traceback or cause of death."""

    unit: str
    attempts: int
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""


class WorkerProcess(Protocol):
    """A process with a worker in it, which does one task at a time: to start, then to make one unit after the other."""

    def submit(self, unit: Unit) -> None:
        """Begin to make ``unit``; it has nothing else to do."""

    def kill(self) -> None:
        """End it at once, whatever it is doing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """How the task of ``process`` ended: with a ``record``, or with an ``error`` that the process may have died of.

    A fatal one ends the run: the disk is full, say, so that no other unit can be committed either.
    """

    process: WorkerProcess
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    has_died: bool = False
    is_fatal: bool = False


class ProcessPool(Protocol):
    """Where worker processes are started: on this machine, or in a Ray cluster."""

    def start(self) -> WorkerProcess:
        """A new process, whose first task is to start its worker."""

    def wait(self, busy: Sequence[WorkerProcess], timeout: float) -> list[TaskResult]:
        """The tasks of ``busy`` that have ended, as soon as one has; none where ``timeout`` seconds pass first."""
