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


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What all units of a run cost, s of workers and of GPUs; units of older versions are not counted."""

    seconds: float
    gpu_seconds: float

    def per_accepted(self, num_accepted: int) -> dict[str, float]:
        """Metrics; empty if nothing was recorded or accepted."""
        if not self.seconds or not num_accepted:
            return {}
        return {
            "seconds_per_accepted": self.seconds / num_accepted,
            "gpu_seconds_per_accepted": self.gpu_seconds / num_accepted,
        }

    def describe(self, num_accepted: int) -> str:
        """The cost per accepted clip, rejected clips included; "" if nothing was recorded."""
        if not self.seconds:
            return ""
        if not num_accepted:
            return f"{self.seconds:.0f} worker seconds, and no clip was accepted"
        gpu = f", {self.gpu_seconds / num_accepted:.1f} GPU seconds" if self.gpu_seconds else ""
        return f"{self.seconds / num_accepted:.1f} worker seconds{gpu} per accepted clip"


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

    def total(self) -> Spent:
        costs = self.read().values()
        return Spent(
            seconds=sum(cost.seconds for cost in costs), gpu_seconds=sum(cost.seconds * cost.gpus for cost in costs)
        )
