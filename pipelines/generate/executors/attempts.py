"""Attempts at units, noted on disk before they start, so that what takes everything down with it is remembered.

<root>/_attempts/<unit>.json   how often the unit was begun, and how often it was seen to fail

An attempt that was begun and neither ended in a commit nor was seen to fail was cut off with the whole run: by whoever
stopped it, or by the unit itself. So it is no proof against the unit. One that was cut off often is made last.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.webdataset_shards.format import dump_json
from driveforge.pipelines.generate.units import Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    unit: str
    num_started: int = 0
    num_failed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.num_failed <= self.num_started:
            raise UserError(f"num_failed must lie from 0 to num_started, got {self.num_failed} of {self.num_started}")


class AttemptLog:
    """The attempts at units that were not made yet, under ``root``; one process writes it."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "_attempts"

    def read(self, unit_id: str) -> Attempts:
        path = self._path(unit_id)
        return read_record(path, Attempts, "delete it") if path.exists() else Attempts(unit=unit_id)

    def record_start(self, unit_id: str) -> None:
        attempts = self.read(unit_id)
        self._write(Attempts(unit=unit_id, num_started=attempts.num_started + 1, num_failed=attempts.num_failed))

    def record_failure(self, unit_id: str) -> int:
        """Note that the attempt under way failed; how many did so far."""
        attempts = self.read(unit_id)
        self._write(Attempts(unit=unit_id, num_started=attempts.num_started, num_failed=attempts.num_failed + 1))
        return attempts.num_failed + 1

    def clear(self, unit_id: str) -> None:
        """Of a unit that was made or given up: whoever tries it again begins anew."""
        self._path(unit_id).unlink(missing_ok=True)

    def order_units(self, units: Sequence[Unit], max_attempts: int) -> list[Unit]:
        """``units``, those last of which so many attempts were cut off."""
        attempts = {unit.id: self.read(unit.id) for unit in units}
        return sorted(
            units, key=lambda unit: attempts[unit.id].num_started - attempts[unit.id].num_failed >= max_attempts
        )

    def _write(self, attempts: Attempts) -> None:
        write_atomic(self._path(attempts.unit), dump_json(asdict(attempts)))

    def _path(self, unit_id: str) -> Path:
        return self._folder / f"{unit_id}.json"
