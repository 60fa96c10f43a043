"""What an export reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSummary:
    """Where an export is and what it holds: a line of ``text``, ``metrics`` and ``artifacts`` (names) for MLflow."""

    folder: Path
    text: str
    metrics: Mapping[str, float]
    artifacts: tuple[str, ...]
