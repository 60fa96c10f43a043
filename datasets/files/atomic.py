"""Files that survive a crash: there whole or not at all, known to be on the disk, and told by their hash."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.lock import is_same_file


class WriteError(UserError):
    """The disk is full, or does not let itself be written to: no use to go on before somebody has looked at it."""


# What the system says of a disk that is full, read-only, or beyond somebody's share of it.
_DISK_ERRNOS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


def find_write_error(error: BaseException, folder: Path) -> WriteError | None:
    """The WriteError that ``error`` is at bottom, if it is one: libraries raise others from the system's.

    Where the system names no file, it is one below ``folder`` or in the temporary folder.
    """
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, OSError) and current.errno in _DISK_ERRNOS:
            target = current.filename or f"a file below {folder} or {os.environ.get('TMPDIR', '/tmp')}"
            return _write_error(target, current)
        current = current.__cause__ or current.__context__
    return None


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """What the system refuses inside becomes a WriteError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(target: object, error: OSError) -> WriteError:
    return WriteError(
        f"{target} cannot be written ({error.strerror or error}); what was finished before is whole: make room, or "
        "choose another folder, and run it again"
    )


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write ``path`` to, with its folder made; it takes the place of any older one in one step at the end.

    Nothing is left of it where the block, or the disk, fails.
    """
    with translate_write_errors(path), _scratch_file(path) as file:
        yield file
        _sync(file)
        os.replace(file.name, path)
    with translate_write_errors(path):
        sync_folder(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, over any older file, in one step."""
    with atomic_file(path) as file:
        file.write(content)


def create_file(path: Path, content: bytes) -> bool:
    """Put ``content`` at ``path`` unless something is there already; False if it is. Of many callers one wins."""
    with translate_write_errors(path), _scratch_file(path) as file:
        file.write(content)
        _sync(file)
        try:
            os.link(file.name, path)
            is_new = True
        except FileExistsError:
            is_new = False
    with translate_write_errors(path):
        sync_folder(path.parent)
    return is_new


def make_folder(folder: Path) -> None:
    """With the folders above it."""
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Of the bytes of a file, in hex; a file of any size is read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_partial_files(folder: Path) -> list[Path]:
    """Remove the files that writers which were killed, or for which there was no room, left in ``folder``."""
    leftovers = [path for path in folder.glob(".*.tmp") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


@contextmanager
def _scratch_file(path: Path) -> Iterator[IO[bytes]]:
    """An empty file beside ``path``, to be moved or linked in the block; its own name is gone afterwards.

    Its name begins with a dot and ends in ``.tmp``. It is one for all attempts, so that the next takes what a killed
    one left, and it is locked, so that of several writers one comes after the other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    with _open_locked(scratch) as file:
        try:
            file.truncate()
            yield file
        finally:
            if is_same_file(
                scratch, file
            ):  # else it took its place, and another writer may have begun one of that name
                scratch.unlink()


def _open_locked(path: Path) -> IO[bytes]:
    """The file at ``path``, made if need be, that no other process has."""
    while True:
        file = open(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except BaseException:
            file.close()
            raise
        if is_same_file(path, file):
            return file
        file.close()  # whoever had it has moved it to its place


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
