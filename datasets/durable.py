"""Files that survive a crash: there whole or not at all, known to be on the disk, and told by their hash."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from datasets.errors import UserError


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
    """A new file beside ``path``; its name, which begins with a dot and ends in ``.tmp``, is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
