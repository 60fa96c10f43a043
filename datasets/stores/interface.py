"""The interface of a store of files: a local folder, or a prefix in an object store.

Names are relative paths with ``/``. Whatever the store, a file appears completely or not at all, and of concurrent
writers that create the same file exactly one succeeds.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A file in a store: ``name`` in its folder, its size and its last modification in seconds since the epoch."""

    name: str
    num_bytes: int
    modified: float


class StagedFile(Protocol):
    """A complete local file at ``path``, to be published under a name that may depend on its bytes."""

    @property
    def path(self) -> Path: ...

    def publish(self, name: str) -> None:
        """Make the file visible as ``name``, as a whole."""


class Store(Protocol):
    """Files under a root; picklable, so that it can be sent to workers."""

    @property
    def folder(self) -> Path:
        """The local folder with the files, or with the cached copies of the files of an object store."""

    @property
    def is_remote(self) -> bool: ...

    def describe(self, name: str = "") -> str:
        """The path or URL of a file, for messages."""

    def files(self, folder: str = "") -> Iterator[StoredFile]:
        """The files directly in ``folder``, in any order, without hidden ones; none if it does not exist."""

    def names(self, folder: str = "") -> Iterator[str]:
        """As ``files``, the names only, which is faster on a disk."""

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes:
        """The content of a file; raises UserError if it is missing or cannot be read."""

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """The contents of many files, in order."""

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a file."""

    def create(self, name: str, content: bytes) -> bool:
        """Create a file; False if it exists already. Of concurrent callers, one succeeds."""

    def fetch(self, name: str, *, again: bool = False) -> Path:
        """The path of a local copy, which does not exist if the store lacks the file.

        A copy from an earlier call is kept, unless it must be fetched ``again``.
        """

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that do not exist are ignored."""

    def scratch(self, name: str) -> AbstractContextManager[Path]:
        """The path of a new local file for temporary use; it is gone after the block, for a store also after a kill."""

    def stage(self, file: Path) -> AbstractContextManager[StagedFile]:
        """A synced copy of ``file``, to be read back and published."""
