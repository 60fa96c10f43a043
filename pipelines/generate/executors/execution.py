"""Units get made here or on Ray, as the settings say. One that keeps failing becomes an error; the rest go on."""

from collections.abc import Iterator, Sequence

from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.interface import UnitOutcome, WorkerFactory
from driveforge.pipelines.generate.executors.scheduler import UnitScheduler
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import Unit


def require_executor(settings: ExecutorSettings) -> None:
    """A UserError at once where nobody listens at the address of a Ray cluster, before any work is done."""
    if settings.name == "ray" and settings.address:
        from driveforge.pipelines.generate.executors.ray_cluster import require_listener

        require_listener(settings.address)


def run_units(
    units: Sequence[Unit], factory: WorkerFactory, settings: ExecutorSettings, log: AttemptLog
) -> Iterator[UnitOutcome]:
    """An outcome for every unit, as they come; a UserError if the workers themselves cannot start."""
    if not units:
        return
    workers = min(settings.workers, len(units))
    if settings.name == "ray":
        from driveforge.pipelines.generate.executors.ray_cluster import ray_session  # Ray takes a second to import

        with ray_session(settings):
            from driveforge.pipelines.generate.executors.ray_pool import RayPool

            yield from UnitScheduler(RayPool(factory, workers), workers=workers, settings=settings, log=log).make(units)
    else:
        from driveforge.pipelines.generate.executors.local_pool import LocalPool

        yield from UnitScheduler(LocalPool(factory), workers=workers, settings=settings, log=log).make(units)
