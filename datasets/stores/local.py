"""A store in a local folder."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import (
    atomic_file,
    create_file,
    make_folder,
    sync_folder,
    translate_write_errors,
    write_atomic,
)
from driveforge.datasets.stores.interface import StoredFile


@dataclass(frozen=True, slots=True)
class LocalStore:
    """The files in ``folder``, which is created when the first one is written."""

    folder: Path

    @property
    def is_remote(self) -> bool:
        return False

    def describe(self, name: str = "") -> str:
        return str(self.folder / name)

    def files(self, folder: str = "") -> Iterator[StoredFile]:
        for entry in self._entries(folder):
            status = entry.stat()
            yield StoredFile(name=entry.name, num_bytes=status.st_size, modified=status.st_mtime)

    def names(self, folder: str = "") -> Iterator[str]:
        return (entry.name for entry in self._entries(folder))

    def _entries(self, folder: str) -> "Iterator[os.DirEntry[str]]":
        try:
            entries = os.scandir(self.folder / folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file():
                    yield entry

    def exists(self, name: str) -> bool:
        return (self.folder / name).exists()

    def read(self, name: str) -> bytes:
        path = self.folder / name
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is not a file")
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        return map(self.read, names)

    def write(self, name: str, content: bytes) -> None:
        write_atomic(self.folder / name, content)

    def create(self, name: str, content: bytes) -> bool:
        return create_file(self.folder / name, content)

    def fetch(self, name: str, *, again: bool = False) -> Path:
        return self.folder / name

    def delete(self, names: Iterable[str]) -> None:
        folders = set()
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
            folders.add((self.folder / name).parent)
        for folder in folders:
            if folder.is_dir():
                sync_folder(folder)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A file in the folder, where a later run removes it if this process is killed."""
        make_folder(self.folder)
        path = self.folder / f".{name}.{secrets.token_hex(4)}.tmp"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def stage(self, file: Path) -> Iterator["_StagedCopy"]:
        with self.scratch(file.name.strip(".")) as path:
            with open(file, "rb") as source, atomic_file(path) as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            yield _StagedCopy(path=path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _StagedCopy:
    path: Path

    def publish(self, name: str) -> None:
        target = self.path.with_name(name)
        with translate_write_errors(target):
            os.replace(self.path, target)
            sync_folder(target.parent)
