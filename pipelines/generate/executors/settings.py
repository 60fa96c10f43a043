"""Settings of the executor."""

from dataclasses import dataclass
from typing import Annotated, Literal

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorSettings:
    """The executor of work units."""

    name: Annotated[Literal["local", "ray"], "local: processes on this machine; ray: Ray actors"]
    workers: Annotated[int, "worker processes, with one thread each", Range(1)]
    address: Annotated[str | None, "address of a Ray cluster; null: start a local one"]
    gpus_per_worker: Annotated[
        float | None,
        "GPUs of a Ray worker, such as 0.5; null: an equal share of those of the cluster",
        Range(0),
    ]
    max_attempts: Annotated[int, "attempts at a unit before it is quarantined", Range(1)]
    timeout_factor: Annotated[float, "time limit of an attempt, in medians of the units so far", Range(1)]
    first_timeout: Annotated[float, "time limit until there is a median, s", Range(1)]
    failure_budget: Annotated[
        float, "share of units that may fail: beyond it, the run ends early with exit status 1", Range(0, 1)
    ]
