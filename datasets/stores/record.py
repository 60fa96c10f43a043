"""Records in stores, and the record that makes a folder the working copy of one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import parse_record, read_record
from driveforge.datasets.stores.errors import StoreError
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.location import STORE_RECORD

RecordT = TypeVar("RecordT")


def read_with_hint(store: Store, name: str, hint: str) -> bytes:
    """The content of a file; a UserError ends with ``hint``, which says what to do."""
    try:
        return store.read(name)
    except StoreError:
        raise
    except UserError as error:
        raise UserError(f"{error}; {hint}") from None


def read_stored_record(store: Store, name: str, record_type: type[RecordT], hint: str) -> RecordT:
    """As ``read_record``, from a store."""
    return parse_record(read_with_hint(store, name, hint), record_type, store.describe(name), hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreRecord:
    """What ``STORE_RECORD`` in a working copy holds."""

    url: str


def read_store_record(working_copy: Path) -> StoreRecord:
    """Raises UserError if ``working_copy`` is not the working copy of a run folder in a store."""
    return read_record(working_copy / STORE_RECORD, StoreRecord, f"delete {working_copy}, which is only a cache")
