"""The page of the study of scale."""

from typing import TYPE_CHECKING

from driveforge.pipelines.studies.scale.settings import ScaleStudy
from driveforge.pipelines.studies.scale.simulation import Cluster, Outcome

if TYPE_CHECKING:
    from driveforge.pipelines.studies.scale.study import Results

_PAGE = """\
# Scale

Written by `python -m driveforge.pipelines.studies.scale`: a simulation of one driver and a worker per GPU, over
{days:g} days from the start of the workers.

![Where the time of the GPUs goes, and how busy driver and store are]({picture})

## Assumed and measured

| | |
| --- | --- |
| a clip on a GPU | {clip_seconds:g} s on average, units of {clips_per_unit}, \
standard deviation {spread:.0%} of a unit (assumed) |
| start of a worker with its model | {start_seconds:g} s (assumed) |
| commit of a unit | {store_seconds:g} s (assumed) |
| failures | a GPU or its node every {gpu_mtbf_hours:,.0f} h (Llama 3, arXiv 2407.21783, \
section 3.3.4: 419 interruptions of 16,384 GPUs in 54 days); {unit_failure_rate:.1%} of attempts (assumed) |
| the driver, for each result | {driver_ms:.2f} ms (measured here: {driver_units} units of workers that do nothing) |

## Clusters

| GPUs | clips | of the ideal | lost to failures | starting | waiting for the driver | committing | \
failures of GPUs | driver busy | writes of the store, of its limit |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

Shares are of the time of all GPUs. The ideal is every GPU making clips all the time. A unit is two writes to the store,
its tar and its marker.

{saturation}

## Check against real actors

{actors} Ray actors on this machine slept instead of generating, {units} units of {real_seconds:g} s on average. They
took {real:.1f} s; the simulation of the same cluster takes {simulated:.1f} s, {error:+.1%}. The actors slept
{slept_share:.1%} of their time.
"""


def report(results: "Results", settings: ScaleStudy, picture: str) -> str:
    """The page in Markdown."""
    check = results.check
    return _PAGE.format(
        days=settings.days,
        picture=picture,
        clip_seconds=settings.clip_seconds,
        clips_per_unit=settings.clips_per_unit,
        spread=settings.spread,
        start_seconds=settings.start_seconds,
        store_seconds=settings.store_seconds,
        gpu_mtbf_hours=settings.gpu_mtbf_hours,
        unit_failure_rate=settings.unit_failure_rate,
        driver_ms=1000 * results.driver,
        driver_units=results.driver_units,
        rows="\n".join(_row(cluster, outcome, settings) for cluster, outcome in results.clusters),
        saturation=describe_saturation(results, settings),
        actors=check.real.workers,
        units=check.real.units,
        real_seconds=settings.real_seconds,
        real=check.real.seconds,
        simulated=check.simulated.finished,
        error=check.simulated.finished / check.real.seconds - 1,
        slept_share=check.real.slept / (check.real.workers * check.real.seconds),
    )


def describe_saturation(results: "Results", settings: ScaleStudy) -> str:
    """At how many GPUs the driver and the store would be busy all the time."""
    unit = settings.clip_seconds * settings.clips_per_unit + settings.store_seconds
    driver, store = unit / results.driver, unit * settings.store_puts_per_second / 2
    first = "the driver" if driver < store else "the store"
    return (
        f"The driver would be busy all the time at {driver:,.0f} GPUs, the store at its limit of "
        f"{settings.store_puts_per_second:,.0f} writes a second at {store:,.0f}: {first} saturates first. Longer units "
        "(`generate.clips_per_unit`) move both limits in proportion."
    )


def store_share(outcome: Outcome, settings: ScaleStudy) -> float:
    """Writes a second over the limit of the store."""
    return 2 * outcome.units / outcome.seconds / settings.store_puts_per_second


def _row(cluster: Cluster, outcome: Outcome, settings: ScaleStudy) -> str:
    total = cluster.workers * outcome.seconds
    shares = (outcome.lost, outcome.starting, outcome.waiting, outcome.committing)
    cells = [
        f"{cluster.workers:,}",
        f"{outcome.units * settings.clips_per_unit:,}",
        f"{outcome.working / total:.2%}",
        *(f"{share / total:.3%}" for share in shares),
        str(outcome.deaths),
        f"{outcome.driver:.2%}",
        f"{store_share(outcome, settings):.3%}",
    ]
    return f"| {' | '.join(cells)} |"
