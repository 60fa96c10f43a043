"""``index.json``: the shards of an export with sizes and checksums. Readers use only the shards that it lists."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_record

# <split>-<number>-<first hex digits of the sha256>.tar
SHARD_NAME = re.compile(r"[a-z0-9_-]+-\d{5}-(?P<digest>[0-9a-f]{8})\.tar")
INDEX_FILE = "index.json"
INDEX_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """One tar: its file ``name``, the split of its samples, and their ``keys`` in order."""

    name: str
    split: str
    num_samples: int
    num_bytes: int
    sha256: str
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """``splits`` has the number of samples per split, ``files`` the documents next to the shards, by name."""

    schema_version: int
    generator: Literal["driveforge"]
    name: str
    num_samples: int
    num_bytes: int
    splits: dict[str, int]
    files: dict[str, FileEntry]
    shards: tuple[ShardEntry, ...]

    def __post_init__(self) -> None:
        if self.schema_version != INDEX_VERSION:
            raise UserError(f"schema_version is {self.schema_version}, but only {INDEX_VERSION} is supported")
        names = [*self.files, *(shard.name for shard in self.shards)]
        for name in names:
            if name in ("", ".", "..") or Path(name).name != name:
                raise UserError(f"{shorten(name)} is not a file name")
            if names.count(name) > 1:
                raise UserError(f"{shorten(name)} is listed twice")


def read_index(root: Path) -> Index:
    """Read ``root/index.json``; raises UserError naming the file, and the key, if it is missing or invalid."""
    path = root / INDEX_FILE
    if not path.exists():
        raise UserError(f"{path}: does not exist; is {root} a folder with exported WebDataset shards?")
    return read_record(path, Index, "export again")
