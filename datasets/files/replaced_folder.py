"""Folders that are written as a whole and replace an older one of the same kind, never anything else."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.atomic_folder import SCRATCH_MARKER, atomic_folder
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
    """An ``atomic_folder`` that gets a record of its files and replaces an older folder of the same ``kind``.

    Raises UserError, before the block runs, if ``path`` is neither empty nor a folder of that kind whose files are
    those of its record.
    """
    with atomic_folder(path, is_replaceable=partial(_is_unchanged, kind=kind)) as scratch:
        yield scratch
        record = {"generator": "driveforge", "kind": kind, "files": _list_files(scratch)}
        write_atomic(scratch / RECORD_FILE, json.dumps(record, indent=1).encode() + b"\n")


def _is_unchanged(path: Path, kind: str) -> bool:
    """Whether ``path`` is as it was written; raises UserError naming a file that was added, changed or removed."""
    if path.is_symlink() or not (path / RECORD_FILE).is_file():
        return False
    try:
        record = read_record(path / RECORD_FILE, FolderRecord)
    except UserError:
        return False
    if (record.generator, record.kind) != ("driveforge", kind):
        return False
    changed = sorted(set(record.files.items()) ^ set(_list_files(path).items()))
    if changed:
        raise UserError(
            f"{path} holds {shorten(changed[0][0])}, which was changed since the export, and is not replaced; "
            "move it away"
        )
    return True


def _list_files(folder: Path) -> dict[str, int]:
    """The size in bytes of every file under ``folder`` but its record, by its path there."""
    files = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    sizes = {path.relative_to(folder).as_posix(): path.lstat().st_size for path in files}
    return {name: sizes[name] for name in sorted(sizes) if name not in (RECORD_FILE, SCRATCH_MARKER)}
