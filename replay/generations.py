"""Numbered generations of a folder, so that a change to a persistent buffer is atomic.

``<root>/generation-000007`` never changes once it exists, and the highest number is the current state. The next
generation is built in ``<root>/.next`` from hard links to the files that stay, and is published by a rename. A reader
holds a lease, a shared lock on the ``manifest.json`` of its generation; a writer removes older generations without one.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder, sync_folder
from driveforge.datasets.files.lock import file_lock

MANIFEST = "manifest.json"
_NEXT, _LOCK = ".next", ".writer"
_FOLDER_NAME = re.compile(r"generation-\d{6,}")
# The files of a generation; other files in it belong to the user and are never removed.
_FILE_NAME = re.compile(r"manifest\.json|buffer\.json|segment-\d+\.safetensors|\..*\.tmp")


class Lease:
    """Keeps a generation from being removed for as long as this object exists.

    It holds a shared lock, which ``filelock`` does not offer. A pickled copy is empty: the lease of the sending process
    protects the files for both.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return Lease, ()


def list_generations(root: Path) -> list[Path]:
    """The complete generations in ``root``, oldest first."""
    return sorted(path for path in _list_generation_folders(root) if (path / MANIFEST).is_file())


def lease_newest(root: Path) -> tuple[Path, Lease]:
    """The current generation and a lease on it. Raises UserError if ``root`` holds no buffer."""
    while found := list_generations(root):
        with suppress(FileNotFoundError):
            descriptor = os.open(found[-1] / MANIFEST, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # A writer may have removed it before the lock was taken.
            if os.fstat(descriptor).st_nlink:
                return found[-1], Lease(descriptor)
            os.close(descriptor)
    raise UserError(f"{root}: holds no replay buffer yet; fill one with `driveforge replay add`")


@contextmanager
def next_generation(root: Path) -> Iterator[tuple[Path, Path | None]]:
    """The folder of the next generation, filled with the files of the current one, and the current one (or None).

    It becomes the current generation when the block ends, if the block wrote a ``manifest.json`` to it. Otherwise, and
    after an exception, nothing changes. Raises UserError if another process is changing the buffer.
    """
    make_folder(root)
    next_folder = root / _NEXT
    with file_lock(root / _LOCK, blocking=False):
        _remove_generation(next_folder)
        newest = next(reversed(list_generations(root)), None)
        _link_all(newest, next_folder)
        try:
            yield next_folder, newest
            if (next_folder / MANIFEST).exists():
                sync_folder(next_folder)
                number = int(newest.name.split("-")[1]) + 1 if newest else 0
                os.rename(next_folder, root / f"generation-{number:06d}")
                sync_folder(root)
        finally:
            _remove_generation(next_folder)
        _remove_old_generations(root)


def _link_all(source: Path | None, target: Path) -> None:
    if os.path.lexists(target):
        raise UserError(f"{target} holds files that do not belong to a replay buffer and is not changed; move it away")
    target.mkdir()
    for path in source.iterdir() if source else ():
        if path.name == MANIFEST or not _FILE_NAME.fullmatch(path.name):
            continue
        try:
            os.link(path, target / path.name)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, target / path.name)


def _remove_old_generations(root: Path) -> None:
    """Remove all but the newest generation, except those with a reader."""
    newest = list_generations(root)[-1:]
    for folder in set(_list_generation_folders(root)) - set(newest):
        try:
            with open(folder / MANIFEST) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_generation(folder)
        except BlockingIOError:
            continue
        except FileNotFoundError:
            _remove_generation(folder)


def _list_generation_folders(root: Path) -> list[Path]:
    return [path for path in root.glob("generation-*") if _FOLDER_NAME.fullmatch(path.name)]


def _remove_generation(folder: Path) -> None:
    """Remove the files of a generation, then its folder unless it holds other files."""
    if not folder.is_dir() or folder.is_symlink():
        return
    # The manifest first: a folder without one is not a generation.
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.iterdir():
        if _FILE_NAME.fullmatch(path.name):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
