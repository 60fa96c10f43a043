"""A checkpoint file: what ``torch.save`` writes, so ``torch.load`` reads it.

The comment at the end of the zip archive holds the sha256 of the rest, which reveals a file that is truncated, altered,
or from another program.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

_MAGIC = b"driveforge sha256 "
_TRAILER_SIZE = len(_MAGIC) + 64
_CHUNK_SIZE = 2**20


def write_checkpoint_file(file: IO[bytes], checkpoint: dict[str, Any]) -> None:
    """Write ``checkpoint`` and its digest to an empty file."""
    hashed = _HashingWriter(file)
    torch.save(checkpoint, hashed)  # type: ignore[arg-type]
    if hashed.error is not None:
        raise hashed.error
    assert hashed.ends_without_comment, "torch.save writes a zip archive without a comment"
    file.seek(-2, os.SEEK_CUR)
    file.write(_TRAILER_SIZE.to_bytes(2, "little") + _MAGIC + hashed.digest.hexdigest().encode())


def is_file_intact(path: Path) -> bool:
    """Whether ``path`` is bit for bit what ``write_checkpoint_file`` wrote."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256()
            for chunk in _read_chunks(file, size - _TRAILER_SIZE - 2):
                digest.update(chunk)
            length, trailer = file.read(2), file.read()
    except OSError:
        return False
    # The digest was taken before the comment was added, when the archive ended with a comment length of 0.
    digest.update(bytes(2))
    return length == _TRAILER_SIZE.to_bytes(2, "little") and trailer == _MAGIC + digest.hexdigest().encode()


class _HashingWriter:
    """A file that is hashed as it is written. ``torch.save`` hides errors of writing, so they are kept in ``error``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tail = b""
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, chunk: Any) -> int:
        if self.error is None:
            try:
                self._file.write(chunk)
            except OSError as error:
                self.error = error
        self.digest.update(chunk)
        self._tail = (self._tail + bytes(chunk[-2:]))[-2:]
        return len(chunk)

    def flush(self) -> None:
        """Does nothing; the caller flushes at the end."""

    @property
    def ends_without_comment(self) -> bool:
        return self._tail == bytes(2)


def _read_chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(size, _CHUNK_SIZE))):
        size -= len(chunk)
        yield chunk
