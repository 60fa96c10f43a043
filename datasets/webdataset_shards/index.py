"""``index.json``: what an export holds, to the byte. Readers take the shards that it lists, and no others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_record

INDEX_FILE = "index.json"
INDEX_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """One tar: its ``name`` beside the index, the split of all its samples, and their ``keys`` in order."""

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
    """``splits`` counts the samples of each split, ``files`` are the documents beside the shards, by name."""

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
            raise UserError(f"schema_version is {self.schema_version}, this version reads {INDEX_VERSION}")
        names = [*self.files, *(shard.name for shard in self.shards)]
        for name in names:
            if name in ("", ".", "..") or Path(name).name != name:
                raise UserError(f"{shorten(name)} is no name of a file beside it")
            if names.count(name) > 1:
                raise UserError(f"{shorten(name)} is listed twice")


def read_index(root: Path) -> Index:
    """``root/index.json``; a UserError naming the file, and the key, where it is missing or is no index of shards."""
    path = root / INDEX_FILE
    if not path.exists():
        raise UserError(f"{path}: cannot be read, it does not exist; is this a folder that export wrote?")
    return read_record(path, Index, "export again")
