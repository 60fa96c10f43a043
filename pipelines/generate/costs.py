"""What units cost: ``<root>/_costs/<unit>.json``, written by the driver after a unit was committed.

Costs differ between runs of the same plan, so they are kept apart from the candidates, whose bytes do not.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.webdataset_shards.format import dump_json

COSTS_FOLDER = "_costs"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitCost:
    """``seconds`` of a worker for a unit of ``clips``: generated, measured and committed; ``gpus`` of that worker."""

    unit: str
    clips: int
    seconds: float
    gpus: float
    finished_at: str

    @property
    def seconds_per_clip(self) -> float:
        return self.seconds / max(self.clips, 1)


class CostLog:
    """The costs of the units under ``root``; written by one process."""

    def __init__(self, root: Path) -> None:
        self._folder = root / COSTS_FOLDER

    def record(self, unit: str, *, clips: int, seconds: float, gpus: float) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        cost = UnitCost(unit=unit, clips=clips, seconds=round(seconds, 3), gpus=gpus, finished_at=now)
        write_atomic(self._folder / f"{unit}.json", dump_json(asdict(cost)))

    def read(self) -> dict[str, UnitCost]:
        """The costs by unit; units of older versions have none."""
        paths = sorted(self._folder.glob("[!.]*.json"))
        costs = [read_record(path, UnitCost, "delete it; the cost of its unit is then unknown") for path in paths]
        return {cost.unit: cost for cost in costs}
