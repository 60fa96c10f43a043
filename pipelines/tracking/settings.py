"""Settings of MLflow tracking."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingSettings:
    """Where MLflow stores runs."""

    uri: Annotated[str | None, "null: sqlite beside the run folders"]
    experiment: Annotated[str, "name"]
