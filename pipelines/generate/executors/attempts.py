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
    begun: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.failed <= self.begun:
            raise UserError(f"failed must lie from 0 to begun, got {self.failed} of {self.begun}")


class AttemptLog:
    """The attempts at units that were not made yet, under ``root``; one process writes it."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "_attempts"

    def of(self, unit_id: str) -> Attempts:
        path = self._path(unit_id)
        return read_record(path, Attempts, "delete it") if path.exists() else Attempts(unit=unit_id)

    def begin(self, unit_id: str) -> None:
        known = self.of(unit_id)
        self._write(Attempts(unit=unit_id, begun=known.begun + 1, failed=known.failed))

    def fail(self, unit_id: str) -> int:
        """Note that the attempt under way failed; how many did so far."""
        known = self.of(unit_id)
        self._write(Attempts(unit=unit_id, begun=known.begun, failed=known.failed + 1))
        return known.failed + 1

    def forget(self, unit_id: str) -> None:
        """Of a unit that was made or given up: whoever tries it again begins anew."""
        self._path(unit_id).unlink(missing_ok=True)

    def in_order(self, units: Sequence[Unit], max_attempts: int) -> list[Unit]:
        """``units``, those last of which so many attempts were cut off."""
        known = {unit.id: self.of(unit.id) for unit in units}
        return sorted(units, key=lambda unit: known[unit.id].begun - known[unit.id].failed >= max_attempts)

    def _write(self, attempts: Attempts) -> None:
        write_atomic(self._path(attempts.unit), dump_json(asdict(attempts)))

    def _path(self, unit_id: str) -> Path:
        return self._folder / f"{unit_id}.json"
