"""Folders that follow one another, so that a change to a buffer is there as a whole or not at all.

``<root>/generation-000007`` is final as soon as it is there, and the highest number counts. The next one is made in
``<root>/.next`` out of hard links to what stays, and takes its place by one rename. Whoever reads holds a shared lock
on the ``manifest.json`` of its generation; an older one is cleared away by the next writer that finds it unlocked.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder, sync_folder

MANIFEST = "manifest.json"
_NEXT, _LOCK = ".next", ".writer"
_FOLDER_NAME = re.compile(r"generation-\d{6,}")
# What lies in a generation; anything else is somebody's, and is never removed.
_FILE_NAME = re.compile(r"manifest\.json|buffer\.json|segment-\d+\.safetensors|\..*\.tmp")


class Lease:
    """As long as this lives, nobody clears the generation away. Sent to another process it is empty: the sender's
    holds there too."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return Lease, ()


def list_generations(root: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in _list_generation_folders(root) if (path / MANIFEST).is_file())


def lease_newest(root: Path) -> tuple[Path, Lease]:
    """The generation that counts now, held until the lease is dropped; a UserError where there is none."""
    while found := list_generations(root):
        with suppress(FileNotFoundError):
            descriptor = os.open(found[-1] / MANIFEST, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # A writer may have cleared it away before we had the lock.
            if os.fstat(descriptor).st_nlink:
                return found[-1], Lease(descriptor)
            os.close(descriptor)
    raise UserError(f"{root}: holds no replay buffer yet; fill one with `driveforge replay add`")


@contextmanager
def next_generation(root: Path) -> Iterator[tuple[Path, Path | None]]:
    """A folder to make the next generation in, which holds all that the newest does, and the newest.

    It takes over when the block ends, if a ``manifest.json`` was written there; nothing has happened if not, or if the
    block is left by an exception. A UserError where another process is changing the buffer.
    """
    make_folder(root)
    next_folder = root / _NEXT
    with _writer_lock(root):
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


@contextmanager
def _writer_lock(root: Path) -> Iterator[None]:
    with _lock_file(root / _LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{root}: another process is changing this replay buffer; wait until it has ended"
            ) from None
        yield


def _lock_file(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); the buffer is as it was") from error


def _link_all(source: Path | None, target: Path) -> None:
    if os.path.lexists(target):
        raise UserError(f"{target} holds files that are not of a replay buffer, and is left alone; move it away")
    target.mkdir()
    for path in source.iterdir() if source else ():
        if path.name == MANIFEST or not _FILE_NAME.fullmatch(path.name):
            continue
        try:
            os.link(path, target / path.name)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, target / path.name)


def _remove_old_generations(root: Path) -> None:
    """Removes the generations that no longer count and that nobody reads."""
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
    """Folders that are called like ours; others are none of our business."""
    return [path for path in root.glob("generation-*") if _FOLDER_NAME.fullmatch(path.name)]


def _remove_generation(folder: Path) -> None:
    """Removes what lies in a generation, and then the folder, unless something else is in it."""
    if not folder.is_dir() or folder.is_symlink():
        return
    # The manifest goes first: what is half gone is no generation.
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.iterdir():
        if _FILE_NAME.fullmatch(path.name):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
