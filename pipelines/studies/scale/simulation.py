"""A discrete-event simulation of one driver and many workers.

A worker starts, then repeats: it asks the driver for a unit, makes it, and commits it. The driver handles one result
after another. A worker may die at any time; what it was making is lost, and it starts again.
"""

import heapq
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Times in seconds: of a unit (mean, and ``spread`` over the mean, lognormal), of the start of a worker, of a
    commit, and of the driver for each result. Workers die at random, on average every ``mtbf``; attempts fail with
    probability ``failure_rate``."""

    workers: int
    unit: float
    spread: float
    start: float
    mtbf: float
    failure_rate: float
    commit: float
    driver: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """``units`` committed within ``seconds``, and where the time of all workers went, in seconds.

    ``working`` is that of committed units, ``lost`` that of died and failed attempts. ``finished`` is when the last
    unit was committed. ``driver`` is the share of the time in which the driver was busy.
    """

    seconds: float
    units: int
    working: float
    committing: float
    starting: float
    waiting: float
    lost: float
    deaths: int
    failures: int
    driver: float
    finished: float


def simulate(cluster: Cluster, seconds: float, seed: int, max_units: int | None = None) -> Outcome:
    """Simulate a run from its start, for ``seconds`` or until ``max_units`` are committed.

    With 24 workers, units of 1 s, commits of 0.1 s and a driver of 10 ms per result, the driver handles 24 results in
    0.24 s of every 1.1 s: it is busy 22 % of the time, and a worker seldom waits.
    """
    rng = np.random.default_rng(seed)
    sigma = float(np.sqrt(np.log1p(cluster.spread**2)))
    totals = dict.fromkeys(("working", "committing", "starting", "waiting", "lost"), 0.0)
    units = deaths = failures = 0
    driver_free = driver_busy = finished = 0.0
    events = [(cluster.start, worker) for worker in range(cluster.workers)]  # when a worker asks for a unit
    totals["starting"] = cluster.start * cluster.workers
    heapq.heapify(events)
    while events and events[0][0] < seconds and (max_units is None or units < max_units):
        asked, worker = heapq.heappop(events)
        begins = max(asked, driver_free) + cluster.driver
        driver_free, driver_busy = begins, driver_busy + cluster.driver
        totals["waiting"] += begins - asked
        making = cluster.unit * float(np.exp(sigma * rng.standard_normal() - sigma**2 / 2))
        dies_after = float(rng.exponential(cluster.mtbf))
        if dies_after < making + cluster.commit:
            deaths += 1
            totals["lost"] += dies_after
            totals["starting"] += cluster.start
            heapq.heappush(events, (begins + dies_after + cluster.start, worker))
            continue
        ends = begins + making + cluster.commit
        if rng.random() < cluster.failure_rate:
            failures += 1
            totals["lost"] += making + cluster.commit
        elif ends <= seconds:
            units, finished = units + 1, max(finished, ends)
            totals["working"] += making
            totals["committing"] += cluster.commit
        heapq.heappush(events, (ends, worker))
    simulated = finished if max_units is not None else seconds
    return Outcome(
        seconds=simulated,
        units=units,
        deaths=deaths,
        failures=failures,
        driver=min(driver_busy / max(simulated, 1e-9), 1.0),
        finished=finished,
        **totals,
    )
