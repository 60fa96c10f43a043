"""What executors are handed and what they give back: a worker that makes units, and the outcome of each.

A worker is made once in each process (that is where a model is loaded), then makes unit after unit and commits each by
itself, so that only small records cross between processes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.generation.units import Unit


class Worker(Protocol):
    def make(self, unit: Unit) -> dict[str, Any]:
        """Make and commit ``unit``; the returned record is small and plain."""


# Called in the worker's process; has to be picklable by reference to cross to a Ray actor.
WorkerFactory = Callable[[], Worker]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitOutcome:
    """What became of a unit: ``error`` is "" when it was made, else the last attempt's traceback or cause of death."""

    unit: str
    attempts: int
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""
