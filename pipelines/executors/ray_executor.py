"""Units made by Ray actors, on a cluster of this machine's own or on one that is already there."""

import os
import secrets
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.executors.work import UnitOutcome, WorkerFactory
from pipelines.generation.units import Unit
from pipelines.settings.config import ExecutorConfig
from pipelines.signals import kept_handlers

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("datasets", "replay", "validation", "finetune", "pipelines")
# Frames stay in the worker that made them, so the object store only needs Ray's minimum.
OBJECT_STORE_BYTES = 100 * 2**20
# One thread a worker: spinning OpenMP threads on shared cores make a step many times slower.
WORKER_ENV = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENCV_FOR_THREADS_NUM": "1",
}
QUIET = {"log_to_driver": False, "logging_level": "error", "namespace": "driveforge"}


def run_units_on_ray(units: Sequence[Unit], factory: WorkerFactory, settings: ExecutorConfig) -> Iterator[UnitOutcome]:
    """An outcome for every unit, as they come; a UserError if the workers themselves cannot start."""
    with _cluster_at(settings.address) if settings.address else _own_cluster(settings.workers):
        from pipelines.executors.ray_fleet import Fleet

        workers = min(settings.workers, len(units))
        yield from Fleet(factory, workers=workers, max_attempts=settings.max_attempts).make(units)


@contextmanager
def _own_cluster(workers: int) -> Iterator[None]:
    """A cluster that lives as long as the context, listens on loopback only and asks for a token."""
    # Ray turns 127.0.0.1 into the outward address unless clusters are switched off, and reads this when it is imported.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # Given a token here, Ray does not write one into the home directory.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    try:
        # Ray's own handler would end this process without leaving its blocks.
        with kept_handlers():
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                # Ray puts the interpreter into a shell command as it is, so a folder with spaces needs the quotes.
                runtime_env={
                    "env_vars": {**WORKER_ENV, "PYTHONPATH": path},
                    "py_executable": shlex.quote(sys.executable),
                },
                _node_ip_address="127.0.0.1",
                **QUIET,
            )
        yield
    finally:
        ray.shutdown()


@contextmanager
def _cluster_at(address: str) -> Iterator[None]:
    """A connection to a running cluster; its nodes get our packages from here, their dependencies have to be there."""
    import ray

    modules = [str(ROOT / package) for package in PACKAGES]
    with kept_handlers():
        ray.init(address=address, runtime_env={"env_vars": WORKER_ENV, "py_modules": modules}, **QUIET)
    try:
        yield
    finally:
        ray.shutdown()
