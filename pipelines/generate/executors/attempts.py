"""Attempts at units, recorded on disk before they start, so that units that crash the whole run are remembered.

<root>/_attempts/<unit>.json   how many attempts were started, and how many failed

An attempt that was started but neither committed nor failed was interrupted together with the run, by a user or by the
unit itself. It does not count as a failure, but units with many interrupted attempts are scheduled last.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.opening import open_store
from driveforge.datasets.stores.record import read_stored_record
from driveforge.datasets.webdataset_shards.format import dump_json

ATTEMPTS_FOLDER = "_attempts"
_JSON = ".json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    unit: str
    num_started: int = 0
    num_failed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.num_failed <= self.num_started:
            raise UserError(f"num_failed must be from 0 to num_started, got {self.num_failed} of {self.num_started}")


class AttemptLog:
    """The attempts at uncommitted units, under ``root``; written by one process.

    Only units in progress, and those that a killed run left, have a record; the others cost nothing.
    """

    def __init__(self, root: Path | Store) -> None:
        self._store = open_store(root)
        self._left = set(self.recorded_units())
        self._current: dict[str, Attempts] = {}

    def recorded_units(self) -> list[str]:
        """The ids of all units with a record."""
        names = self._store.names(ATTEMPTS_FOLDER)
        return sorted(name.removesuffix(_JSON) for name in names if name.endswith(_JSON))

    def read(self, unit_id: str) -> Attempts:
        if unit_id in self._current:
            return self._current[unit_id]
        # Another driver of the same plan in an object store may have finished the unit.
        if unit_id not in self._left or not self._store.exists(_name(unit_id)):
            return Attempts(unit=unit_id)
        return read_stored_record(self._store, _name(unit_id), Attempts, "delete it")

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
        self._store.delete([_name(unit_id)])
        self._left.discard(unit_id)
        self._current.pop(unit_id, None)

    def interrupted_units(self, max_attempts: int) -> set[str]:
        """The units with ``max_attempts`` or more interrupted attempts, which are scheduled last."""
        attempts = [self.read(unit_id) for unit_id in sorted(self._left)]
        return {one.unit for one in attempts if one.num_started - one.num_failed >= max_attempts}

    def _write(self, attempts: Attempts) -> None:
        self._store.write(_name(attempts.unit), dump_json(asdict(attempts)))
        self._current[attempts.unit] = attempts


def _name(unit_id: str) -> str:
    return f"{ATTEMPTS_FOLDER}/{unit_id}{_JSON}"
