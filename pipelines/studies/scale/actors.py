"""Real runs of the executor with workers that sleep instead of generating, to measure what the driver costs."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.datasets.files.atomic import make_folder
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import run_units
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import WorkUnit


@dataclass(frozen=True, kw_only=True, slots=True)
class RealRun:
    """``seconds`` from the first to the last result of ``units`` on ``workers``, which slept ``slept`` s in total."""

    workers: int
    units: int
    seconds: float
    slept: float
    start: float


class SleepingWorker:
    """Sleeps for the time that the unit's number selects from ``seconds``."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self._seconds = seconds

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        seconds = self._seconds[int(unit.id.rpartition("-")[2])]
        time.sleep(seconds)
        return {"clips": 0, "slept": seconds}


def unit_seconds(count: int, mean: float, spread: float, seed: int) -> tuple[float, ...]:
    """Lognormal times of ``count`` units, s."""
    sigma = float(np.sqrt(np.log1p(spread**2)))
    draws = np.random.default_rng(seed).standard_normal(count)
    return tuple(float(value) for value in mean * np.exp(sigma * draws - sigma**2 / 2))


def run_actors(root: Path, workers: int, seconds: Sequence[float]) -> RealRun:
    """Run units that take ``seconds`` each on ``workers`` Ray actors of this machine."""
    shutil.rmtree(root, ignore_errors=True)
    make_folder(root)
    units = [WorkUnit(id=f"unit-{number:06d}", requests=()) for number in range(len(seconds))]
    settings = ExecutorSettings(
        name="ray",
        workers=workers,
        address=None,
        max_attempts=1,
        timeout_factor=100.0,
        first_timeout=600.0,
        failure_budget=0.0,
        gpus_per_worker=None,
    )
    called, results = time.monotonic(), []
    for outcome in run_units(units, partial(SleepingWorker, tuple(seconds)), settings, AttemptLog(root)):
        results.append((time.monotonic(), outcome))
    first = results[0][0] - float(results[0][1].record["slept"])
    return RealRun(
        workers=workers,
        units=len(results),
        seconds=results[-1][0] - first,
        slept=sum(float(outcome.record["slept"]) for _, outcome in results),
        start=first - called,
    )
