"""Run units locally or on Ray, as configured. A unit that keeps failing does not stop the others."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.interface import UnitOutcome, WorkerFactory
from driveforge.pipelines.generate.executors.scheduler import UnitScheduler
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import WorkUnit


def require_executor(settings: ExecutorSettings) -> None:
    """Raise UserError if no process listens at the address of the configured Ray cluster."""
    if settings.name == "ray" and settings.address:
        from driveforge.pipelines.generate.executors.ray_cluster import require_listener

        require_listener(settings.address)


def run_units(
    units: Iterable[WorkUnit], factory: WorkerFactory, settings: ExecutorSettings, log: AttemptLog
) -> Iterator[UnitOutcome]:
    """Yield an outcome for every unit as it finishes; raises UserError if the workers cannot start."""
    remaining = iter(units)
    first = list(islice(remaining, settings.workers))
    if not first:
        return
    workers, units = len(first), chain(first, remaining)
    if settings.name == "ray":
        from driveforge.pipelines.generate.executors.ray_cluster import ray_session  # importing Ray takes a second

        with ray_session(settings):
            from driveforge.pipelines.generate.executors.ray_pool import RayPool

            pool = RayPool(factory, workers, settings.gpus_per_worker)
            yield from UnitScheduler(pool, workers=workers, settings=settings, log=log).make(units)
    else:
        from driveforge.pipelines.generate.executors.local_pool import LocalPool

        yield from UnitScheduler(LocalPool(factory), workers=workers, settings=settings, log=log).make(units)
