"""Settings of MLflow tracking."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingSettings:
    """The MLflow store."""

    uri: Annotated[str | None, "tracking server or database; null: sqlite in the parent of the run folder"]
    experiment: Annotated[str, "name of the MLflow experiment"]
