"""Atomic creation of folders. Only folders with driveforge's marker are removed."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sync_folder, translate_write_errors

# Marks a folder as incomplete and removable.
SCRATCH_MARKER = ".driveforge-scratch"


@contextmanager
def atomic_folder(path: Path, *, is_replaceable: Callable[[Path], bool] = lambda path: False) -> Iterator[Path]:
    """A scratch folder next to ``path``, renamed to ``path`` when the block ends, removed if it fails.

    A folder at ``path`` that ``is_replaceable`` stays until then. The scratch folders of a killed process are removed
    first. Raises UserError if another folder at ``path`` is not empty, or if a folder without this marker has the
    scratch folder's name; WriteError if the disk is full or read-only.
    """
    scratch, replaced = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.replaced")
    if not is_absent_or_empty(path) and not is_replaceable(path):
        raise UserError(f"{path} exists already and is not replaced; move it away, or choose another folder")
    with translate_write_errors(path):
        remove_scratch(replaced)
        create_scratch(scratch)
        try:
            yield scratch
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


def is_absent_or_empty(path: Path) -> bool:
    """Whether ``path`` does not exist or is an empty folder."""
    if path.is_symlink() or not path.is_dir():
        return not os.path.lexists(path)
    return not any(path.iterdir())


def create_scratch(path: Path) -> None:
    """Create an empty folder at ``path`` that ``remove_scratch`` may remove."""
    remove_scratch(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / SCRATCH_MARKER).touch()


def remove_scratch(path: Path) -> None:
    """Remove a folder that ``create_scratch`` created, if there is one. Raises UserError if it has no marker."""
    if is_absent_or_empty(path):
        return
    if path.is_symlink() or not (path / SCRATCH_MARKER).is_file():
        raise UserError(f"{path} was not created by driveforge and is not removed; move it away")
    # The marker is removed last, so that an interrupted removal can be completed.
    for entry in path.iterdir():
        if entry.name == SCRATCH_MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (path / SCRATCH_MARKER).unlink()
    path.rmdir()
