"""Folders that appear under their name complete; nothing is ever removed that was not marked as ours."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sync_folder, translate_write_errors

# In every folder that we may remove again, until it is complete.
SCRATCH_MARKER = ".driveforge-scratch"


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A scratch folder beside ``path``, which takes its name when the block ends, and is removed when it fails.

    What a killed process left of it is removed first. A UserError where ``path`` holds anything, or where something
    that is not ours lies at the scratch folder's name; a WriteError where the disk is full or read-only.
    """
    scratch = path.with_name(f".{path.name}.tmp")
    if not is_absent_or_empty(path):
        raise UserError(f"{path} exists already and is not replaced; move it away, or choose another place")
    with translate_write_errors(path):
        create_scratch(scratch)
        try:
            yield scratch
        except BaseException:
            remove_scratch(scratch)
            raise
        (scratch / SCRATCH_MARKER).unlink()
        sync_folder(scratch)
        os.rename(scratch, path)
        sync_folder(path.parent)


def is_absent_or_empty(path: Path) -> bool:
    """Whether nothing is at ``path``, or an empty folder."""
    if path.is_symlink() or not path.is_dir():
        return not os.path.lexists(path)
    return not any(path.iterdir())


def create_scratch(path: Path) -> None:
    """An empty folder at ``path`` that ``remove_scratch`` removes again."""
    remove_scratch(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / SCRATCH_MARKER).touch()


def remove_scratch(path: Path) -> None:
    """Remove what ``create_scratch`` began at ``path``, if anything; a UserError where it is not ours."""
    if is_absent_or_empty(path):
        return
    if path.is_symlink() or not (path / SCRATCH_MARKER).is_file():
        raise UserError(f"{path} was not made by driveforge and is not removed; move it away")
    # The mark goes last, so that a removal that was cut short can be finished.
    for entry in path.iterdir():
        if entry.name == SCRATCH_MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (path / SCRATCH_MARKER).unlink()
    path.rmdir()
