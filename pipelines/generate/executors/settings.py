"""Settings of the workers that generate units."""

from dataclasses import dataclass
from typing import Annotated, Literal

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorSettings:
    """Where units are generated."""

    name: Annotated[Literal["local", "ray"], "local: processes of this machine"]
    workers: Annotated[int, "processes, of one thread each", Range(1)]
    address: Annotated[str | None, "of a Ray cluster; null starts one here"]
    max_attempts: Annotated[int, "attempts at a unit before it is quarantined", Range(1)]
    timeout_factor: Annotated[float, "an attempt is stopped after this many times the median of a unit", Range(1)]
    first_timeout: Annotated[float, "seconds, until there is a median", Range(1)]
