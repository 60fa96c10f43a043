"""Files that survive a crash: there whole or not at all, known to be on the disk, and told by their hash."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from datasets.errors import UserError
from datasets.file_lock import is_at


class WriteError(UserError):
    """The disk is full, or does not let itself be written to: no use to go on before somebody has looked at it."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses inside becomes a WriteError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}); what was finished before is whole: "
            "make room, or choose another folder, and run it again"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write ``path`` to, with its folder made; it takes the place of any older one in one step at the end.

    Nothing is left of it where the block, or the disk, fails.
    """
    with writing(path), _scratch(path) as file:
        yield file
        _sync(file)
        os.replace(file.name, path)
        sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, over any older file, in one step."""
    with replacing(path) as file:
        file.write(content)


def create_file(path: Path, content: bytes) -> bool:
    """Put ``content`` at ``path`` unless something is there already; False if it is. Of many callers one wins."""
    with writing(path), _scratch(path) as file:
        file.write(content)
        _sync(file)
        try:
            os.link(file.name, path)
        except FileExistsError:
            return False
        sync_folder(path.parent)
        return True


def sync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Of the bytes of a file, in hex; a file of any size is read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_half_written(folder: Path) -> list[Path]:
    """Remove the files that writers which were killed, or for which there was no room, left in ``folder``."""
    leftovers = [path for path in folder.glob(".*.tmp") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


@contextmanager
def _scratch(path: Path) -> Iterator[IO[bytes]]:
    """An empty file beside ``path``, whose name begins with a dot and ends in ``.tmp``, and is gone afterwards.

    All writers of ``path`` have the same one, in turn, so that what a killed one left goes with the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    with _taken(scratch) as file:
        try:
            yield file
        finally:
            if is_at(scratch, file):  # else it took its place, and another writer has begun one of that name
                scratch.unlink()


def _taken(scratch: Path) -> IO[bytes]:
    while True:
        # Nothing may be cut off before it is locked: another writer may be at it.
        file = open(scratch, "r+b", opener=lambda path, flags: os.open(path, flags | os.O_CREAT, 0o644))  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(scratch, file):
                file.truncate()
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
