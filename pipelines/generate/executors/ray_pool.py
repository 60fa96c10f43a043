"""Worker processes as actors of a connected Ray cluster.

Uses Ray Core, not Ray Data: Ray Data retries a row that kills its process forever.
"""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from driveforge.datasets.errors import UserError
from driveforge.pipelines.generate.executors.interface import (
    FATAL_ERRORS,
    TaskResult,
    Worker,
    WorkerFactory,
    WorkerProcess,
    run_worker,
)
from driveforge.pipelines.generate.units import WorkUnit
from driveforge.pipelines.processes.threads import limit_threads


class _Actor:
    """The actor: its constructor is cheap, ``start`` loads the model."""

    def __init__(self, factory: WorkerFactory) -> None:
        self._factory = factory
        self._worker: Worker | None = None

    def start(self) -> dict[str, Any]:
        limit_threads()
        self._worker = self._factory()
        return {}

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        assert self._worker is not None
        return run_worker(self._worker, unit)


class RayPool:
    """Actors with a worker from ``factory`` each, and ``gpus`` GPUs each.

    If that is None, ``workers`` actors share the GPUs of the cluster.
    """

    def __init__(self, factory: WorkerFactory, workers: int, gpus: float | None = None) -> None:
        self._factory = factory
        available = ray.cluster_resources().get("GPU", 0.0)
        if gpus is not None and gpus > available:
            raise UserError(f"executor.gpus_per_worker={gpus:g}: the cluster has {available:g} GPUs; lower it")
        self._gpus = min(1.0, available / workers) if gpus is None else gpus

    def start(self) -> "RayProcess":
        actor = ray.remote(_Actor).options(num_cpus=1, num_gpus=self._gpus, max_restarts=0).remote(self._factory)
        return RayProcess(actor)

    def wait(self, busy: Sequence[WorkerProcess], timeout: float) -> list[TaskResult]:
        by_task = {process.task: process for process in busy if isinstance(process, RayProcess)}
        done, _ = ray.wait(list(by_task), num_returns=1, timeout=timeout)
        return [by_task[task].result() for task in done]


class RayProcess:
    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.task = actor.start.remote()

    def submit(self, unit: WorkUnit) -> None:
        self.task = self._actor.make.remote(unit)

    def kill(self) -> None:
        ray.kill(self._actor, no_restart=True)

    def result(self) -> TaskResult:
        try:
            return TaskResult(process=self, record=ray.get(self.task))
        except RayActorError as death:
            return TaskResult(process=self, error=f"the worker terminated: {death}", has_died=True)
        except RayTaskError as failure:
            if isinstance(failure.cause, FATAL_ERRORS):
                return TaskResult(process=self, error=str(failure.cause), is_fatal=True)
            return TaskResult(process=self, error=str(failure))
