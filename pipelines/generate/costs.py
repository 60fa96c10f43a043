"""What units cost: ``<root>/_costs/<unit>.json``, written by the driver after a unit was committed.

Costs differ between runs of the same plan, so they are kept apart from the candidates, whose bytes do not.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from driveforge.datasets.files.json_record import parse_record
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.opening import open_store
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

    def __init__(self, root: Path | Store) -> None:
        self._store = open_store(root)

    def record(self, unit: str, *, clips: int, seconds: float, gpus: float) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        cost = UnitCost(unit=unit, clips=clips, seconds=round(seconds, 3), gpus=gpus, finished_at=now)
        self._store.write(f"{COSTS_FOLDER}/{unit}.json", dump_json(asdict(cost)))

    def read(self) -> dict[str, UnitCost]:
        """The costs by unit; units of older versions have none."""
        names = sorted(f"{COSTS_FOLDER}/{file.name}" for file in self._store.files(COSTS_FOLDER))
        hint = "delete it; the cost of its unit is then unknown"
        contents = zip(names, self._store.read_all(names), strict=True)
        costs = [parse_record(content, UnitCost, self._store.describe(name), hint) for name, content in contents]
        return {cost.unit: cost for cost in costs}
