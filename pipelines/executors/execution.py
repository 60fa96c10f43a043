"""Units get made here or on Ray, as the settings say. One that keeps failing becomes an error; the rest go on."""

from collections.abc import Iterator, Sequence

from pipelines.executors.local_executor import run_units_here
from pipelines.executors.work import UnitOutcome, WorkerFactory
from pipelines.generation.units import Unit
from pipelines.settings.config import ExecutorConfig


def run_units(units: Sequence[Unit], factory: WorkerFactory, settings: ExecutorConfig) -> Iterator[UnitOutcome]:
    """An outcome for every unit, as they come."""
    if not units:
        return
    if settings.name == "ray":
        from pipelines.executors.ray_executor import run_units_on_ray  # Ray takes a second to import

        yield from run_units_on_ray(units, factory, settings)
    else:
        yield from run_units_here(units, factory, settings.max_attempts)
