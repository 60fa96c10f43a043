"""Measure the driver with sleeping actors, check the simulation against them, and simulate clusters of every size."""

from dataclasses import dataclass, replace
from pathlib import Path

from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.progress import track
from driveforge.pipelines.console import print_result
from driveforge.pipelines.studies.scale.actors import RealRun, run_actors, unit_seconds
from driveforge.pipelines.studies.scale.plot import plot_scale
from driveforge.pipelines.studies.scale.report import report
from driveforge.pipelines.studies.scale.settings import ScaleStudy
from driveforge.pipelines.studies.scale.simulation import Cluster, Outcome, simulate

# Units of the run that measures the driver: workers do not sleep, so the driver is the bottleneck.
_DRIVER_UNITS = 2000
_DRIVER_WORKERS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A real run of sleeping actors, and the simulation of the same units."""

    real: RealRun
    simulated: Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """``driver`` is the time of the driver for a result, s, measured over ``driver_units``.

    ``clusters`` are simulated for the whole time.
    """

    driver: float
    driver_units: int
    check: Check
    clusters: list[tuple[Cluster, Outcome]]


def study_scale(settings: ScaleStudy, page: Path) -> None:
    """Write the page of the study, with its picture beside it."""
    run = measure_driver(settings)
    driver = run.seconds / run.units
    check = check_simulation(settings, driver)
    clusters = [make_cluster(settings, gpus, driver) for gpus in settings.gpus]
    outcomes = [
        simulate(cluster, settings.days * 86400, settings.seed) for cluster in track(clusters, "Simulating clusters")
    ]
    simulated = list(zip(clusters, outcomes, strict=True))
    results = Results(driver=driver, driver_units=run.units, check=check, clusters=simulated)
    plot_scale(page.with_suffix(".png"), results, settings)
    write_atomic(page, report(results, settings, page.with_suffix(".png").name).encode())
    print_result(page)


def measure_driver(settings: ScaleStudy) -> RealRun:
    """A run in which no worker sleeps, so that its time is that of the driver."""
    return run_actors(settings.run_dir / "driver", _DRIVER_WORKERS, (0.0,) * _DRIVER_UNITS)


def check_simulation(settings: ScaleStudy, driver: float) -> Check:
    """The same units on real sleeping actors and simulated."""
    count = settings.actors * settings.real_units
    seconds = unit_seconds(count, settings.real_seconds, settings.spread, settings.seed)
    real = run_actors(settings.run_dir / "check", settings.actors, seconds)
    cluster = replace(
        make_cluster(settings, settings.actors, driver),
        unit=settings.real_seconds,
        start=0.0,
        commit=0.0,
        mtbf=1e12,
        failure_rate=0.0,
    )
    return Check(real=real, simulated=simulate(cluster, 1e12, settings.seed, max_units=count))


def make_cluster(settings: ScaleStudy, gpus: int, driver: float) -> Cluster:
    return Cluster(
        workers=gpus,
        unit=settings.clip_seconds * settings.clips_per_unit,
        spread=settings.spread,
        start=settings.start_seconds,
        mtbf=settings.gpu_mtbf_hours * 3600,
        failure_rate=settings.unit_failure_rate,
        commit=settings.store_seconds,
        driver=driver,
    )
