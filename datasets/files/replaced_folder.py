"""Folders that are written as a whole and replace an older one of the same kind, never anything else."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import sync_folder, translate_write_errors, write_atomic
from driveforge.datasets.files.atomic_folder import (
    SCRATCH_MARKER,
    create_scratch,
    is_absent_or_empty,
    remove_scratch,
)
from driveforge.datasets.files.json_record import read_record

RECORD_FILE = "driveforge.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderRecord:
    """What ``RECORD_FILE`` holds: the kind of the folder, and the size in bytes of every other file in it."""

    generator: str
    kind: str
    files: dict[str, int]


@contextmanager
def replaced_folder(path: Path, kind: str) -> Iterator[Path]:
    """A scratch folder next to ``path`` that replaces it when the block ends, with a record of its files.

    If the block fails, ``path`` is unchanged. Raises UserError, before the block runs, if ``path`` is neither empty nor
    a folder of the same ``kind`` whose files are those of its record; WriteError if the disk is full or read-only.
    """
    scratch, replaced = (path.with_name(f".{path.name}.{suffix}") for suffix in ("tmp", "replaced"))
    _check_replaceable(path, kind)
    with translate_write_errors(path):
        remove_scratch(replaced)
        create_scratch(scratch)
        try:
            yield scratch
            record = {"generator": "driveforge", "kind": kind, "files": _list_files(scratch)}
            write_atomic(scratch / RECORD_FILE, json.dumps(record, indent=1).encode() + b"\n")
        except BaseException:
            remove_scratch(scratch)
            raise
        (scratch / SCRATCH_MARKER).unlink()
        sync_folder(scratch)
        if not is_absent_or_empty(path):
            (path / SCRATCH_MARKER).touch()
            os.rename(path, replaced)
        os.rename(scratch, path)
        sync_folder(path.parent)
        remove_scratch(replaced)


def _check_replaceable(path: Path, kind: str) -> None:
    if is_absent_or_empty(path):
        return
    problem = "was not written by driveforge"
    if path.is_dir() and not path.is_symlink() and (path / RECORD_FILE).is_file():
        record = read_record(path / RECORD_FILE, FolderRecord, "move the folder away")
        found = _list_files(path)
        changed = sorted(set(record.files.items()) ^ set(found.items()))
        if (record.generator, record.kind) == ("driveforge", kind) and not changed:
            return
        problem = f"holds {shorten(changed[0][0])}, which was changed since the export" if changed else "is another one"
    raise UserError(f"{path} {problem} and is not replaced; move it away")


def _list_files(folder: Path) -> dict[str, int]:
    """The size in bytes of every file under ``folder`` but its record, by its path there."""
    files = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    own = {RECORD_FILE, SCRATCH_MARKER}
    sizes = {path.relative_to(folder).as_posix(): path.lstat().st_size for path in files}
    return {name: sizes[name] for name in sorted(sizes) if name not in own}
