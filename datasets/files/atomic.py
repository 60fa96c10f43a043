"""Atomic and durable file writes, partial files of killed writers, and file hashes."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from driveforge.datasets.errors import UserError


class WriteError(UserError):
    """The disk is full or not writable: the work cannot continue before this is fixed."""


# The disk is full, read-only, or its quota is used up.
_DISK_ERRNOS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


def find_write_error(error: BaseException, folder: Path) -> WriteError | None:
    """The WriteError for a disk error anywhere in the causes of ``error``, None if there is none.

    Libraries wrap the errors of the system in their own. If the system error names no file, the message names
    ``folder`` and the temporary folder.
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
    """Raise an OSError of the block as a WriteError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(target: object, error: OSError) -> WriteError:
    return WriteError(
        f"{target} cannot be written ({error.strerror or error}); finished work is intact: free disk space or choose "
        "another folder, then run this again"
    )


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file that replaces ``path`` atomically when the block ends; the folder is created.

    If the block or the disk fails, ``path`` is unchanged and the temporary file is removed.
    """
    with translate_write_errors(path), _scratch_file(path) as file:
        yield file
        _sync(file)
        os.replace(file.name, path)
    with translate_write_errors(path):
        sync_folder(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically, replacing an existing file."""
    with atomic_file(path) as file:
        file.write(content)


def create_file(path: Path, content: bytes) -> bool:
    """Write ``content`` to ``path`` atomically; False if it exists already. Of concurrent callers, one succeeds."""
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
    """Create ``folder`` and its parents. Raises WriteError if that fails."""
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the creation and renaming of files in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """The sha256 of a file in hex, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_partial_files(folder: Path) -> list[Path]:
    """Remove the temporary files that killed or failed writers left in ``folder``; returns their paths."""
    leftovers = [path for path in folder.glob(".*.tmp") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


@contextmanager
def _scratch_file(path: Path) -> Iterator[IO[bytes]]:
    """An empty, locked temporary file next to ``path``, which the block renames or links; removed afterwards.

    All writers of ``path`` use the same temporary name: one replaces the leftovers of a killed one, and the lock makes
    concurrent ones write in sequence.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    with _open_locked(scratch) as file:
        try:
            file.truncate()
            yield file
        finally:
            # After a rename, another writer may have created a file of this name, which must not be removed.
            if _is_same_file(scratch, file):
                scratch.unlink()


def _open_locked(path: Path) -> IO[bytes]:
    """The file at ``path``, created if needed, under an exclusive lock.

    ``FileLock`` takes a separate lock file; here the file itself is locked, since the lock must survive its rename.
    """
    while True:
        file = open(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except BaseException:
            file.close()
            raise
        if _is_same_file(path, file):
            return file
        file.close()  # the previous holder has renamed this file


def _is_same_file(path: Path, file: IO[bytes]) -> bool:
    """Whether the open ``file`` is still the one at ``path``."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
