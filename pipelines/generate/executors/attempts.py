"""Attempts at units, recorded on disk before they start, so that units that crash the whole run are remembered.

<root>/_attempts/<unit>.json   how many attempts were started, and how many failed

An attempt that was started but neither committed nor failed was interrupted together with the run, by a user or by the
unit itself. It does not count as a failure, but units with many interrupted attempts are scheduled last.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.webdataset_shards.format import dump_json
from driveforge.pipelines.generate.units import WorkUnit


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    unit: str
    num_started: int = 0
    num_failed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.num_failed <= self.num_started:
            raise UserError(f"num_failed must be from 0 to num_started, got {self.num_failed} of {self.num_started}")


class AttemptLog:
    """The attempts at uncommitted units, under ``root``; written by one process."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "_attempts"

    def read(self, unit_id: str) -> Attempts:
        path = self._path(unit_id)
        return read_record(path, Attempts, "delete it") if path.exists() else Attempts(unit=unit_id)

    def record_start(self, unit_id: str) -> None:
        attempts = self.read(unit_id)
        self._write(Attempts(unit=unit_id, num_started=attempts.num_started + 1, num_failed=attempts.num_failed))

    def record_failure(self, unit_id: str) -> int:
        """Record that the current attempt failed; returns the number of failures so far."""
        attempts = self.read(unit_id)
        self._write(Attempts(unit=unit_id, num_started=attempts.num_started, num_failed=attempts.num_failed + 1))
        return attempts.num_failed + 1

    def clear(self, unit_id: str) -> None:
        """Delete the record of attempts at a unit that was committed or quarantined."""
        self._path(unit_id).unlink(missing_ok=True)

    def order_units(self, units: Sequence[WorkUnit], max_attempts: int) -> list[WorkUnit]:
        """``units``, with those of ``max_attempts`` or more interrupted attempts at the end."""
        attempts = {unit.id: self.read(unit.id) for unit in units}
        return sorted(
            units, key=lambda unit: attempts[unit.id].num_started - attempts[unit.id].num_failed >= max_attempts
        )

    def _write(self, attempts: Attempts) -> None:
        write_atomic(self._path(attempts.unit), dump_json(asdict(attempts)))

    def _path(self, unit_id: str) -> Path:
        return self._folder / f"{unit_id}.json"
