"""A replay buffer that outlasts runs: filled again and again, read meanwhile, every byte of it known by hash."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sha256_file, write_atomic
from driveforge.datasets.files.json_record import read_json, read_record
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.generations import MANIFEST, Lease, generations, lease_newest, next_generation
from driveforge.replay.retention import Tally
from driveforge.replay.segments import Entry
from driveforge.replay.settings import SETTINGS, BufferSettings, read_settings

# Of what is alive, the part that may lie dead on disk; less would rewrite more.
SPARE = 0.1
NOT_STATED = "not stated"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _TallyRecord:
    count: int
    total: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _ManifestFile:
    """``manifest.json`` as it is written; ``digest`` is of the rest."""

    format: int
    files: dict[str, tuple[int, str]]
    tallies: dict[str, _TallyRecord]
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """``files`` are the size and sha256 of every other file of the generation, ``tallies`` those of the buffer."""

    files: Mapping[str, tuple[int, str]]
    tallies: Mapping[str, Tally]

    @property
    def record(self) -> dict[str, Any]:
        tallies = {name: {"count": tally.count, "total": tally.total.tolist()} for name, tally in self.tallies.items()}
        return {"format": FORMAT, "files": {name: list(file) for name, file in self.files.items()}, "tallies": tallies}

    def write(self, folder: Path) -> None:
        # A digest of its own, since no other file speaks for this one.
        write_atomic(
            folder / MANIFEST, json.dumps(self.record | {"digest": _digest(self.record)}, sort_keys=True).encode()
        )


def read_manifest(folder: Path) -> Manifest:
    """A UserError where it is not as it was written."""
    path, advice = folder / MANIFEST, "drop this buffer and fill it again"
    found = read_record(path, _ManifestFile, advice)
    record = {name: value for name, value in read_json(path, advice).items() if name != "digest"}
    if found.digest != _digest(record):
        raise UserError(f"{path}: differs from its own digest; {advice}")
    tallies = {
        name: Tally(count=tally.count, total=np.asarray(tally.total, np.float64))
        for name, tally in found.tallies.items()
    }
    return Manifest(files=found.files, tallies=tallies)


def require_whole(folder: Path, files: Mapping[str, tuple[int, str]]) -> None:
    """A UserError where a file of a generation is missing, altered, or not its own; segments tell their own rot."""
    there = {path.name for path in folder.iterdir() if _counts(path.name)}
    for name in sorted(there ^ set(filter(_counts, files))):
        fault = "is missing" if name in files else "was not written by this buffer"
        raise UserError(f"{folder / name}: {fault}; see `driveforge replay verify`")
    for name, (size, sha256) in files.items():
        if not _counts(name):
            continue
        found = (folder / name).stat().st_size
        if found != size or (name == SETTINGS and sha256_file(folder / name) != sha256):
            raise UserError(f"{folder / name}: is not as it was written; see `driveforge replay verify`")


def _counts(name: str) -> bool:
    """Whether a buffer is made of files that are called so; others may lie there."""
    return name == SETTINGS or name.startswith("segment-")


class StandingBuffer(ReplayBuffer):
    """A generation of a standing buffer, for reading: it stays as it is while others add to the buffer."""

    lease: Lease


def open_standing(root: Path, *, key: str = "", licences: Collection[str] | None = None) -> StandingBuffer:
    """The buffer in ``root`` as it is now; with ``licences``, only what is under one of them.

    A UserError where there is none, where its ``key`` is another (a ``key`` that is given), or where nothing is left.
    """
    folder, lease = lease_newest(root)
    require_whole(folder, read_manifest(folder).files)
    buffer = StandingBuffer.open(folder)
    buffer.lease = lease
    require_key(root, buffer.settings, key)
    if licences is not None:
        buffer.withhold(lambda entry: licence_of(entry) not in licences)
    if not len(buffer):
        under = f" under {', '.join(licences) or 'no licence'}" if licences is not None else ""
        raise UserError(f"{root}: this replay buffer holds no clips{under}; see `driveforge replay stats`")
    return buffer


def licence_of(entry: Entry) -> str:
    """As it was stated; ``NOT_STATED`` where it was not."""
    return str(entry.get("origin", {}).get("licence") or NOT_STATED)


def standing_settings(root: Path) -> BufferSettings | None:
    """None where there is no buffer yet."""
    return read_settings(found[-1]) if (found := generations(root)) else None


def require_key(root: Path, settings: BufferSettings, key: str) -> None:
    if key and settings.key != key:
        raise UserError(
            f"{root}: this replay buffer was filled with another codec, or clips of another size, rate or length; "
            "use the model and data settings that it was filled with, or another replay.buffer"
        )


@contextmanager
def changing(root: Path, settings: BufferSettings | None = None) -> Iterator[ReplayBuffer]:
    """The buffer in ``root``, made if ``settings`` are given, to be offered to or to forget.

    When the block ends well, all of it takes the old state's place at once; otherwise, and after a kill, the old state
    is as it was. Readers keep what they have opened. A UserError where another process is changing it.
    """
    if settings is None and standing_settings(root) is None:
        lease_newest(root)
    with next_generation(root) as (folder, newest):
        old = read_manifest(newest) if newest else Manifest(files={}, tallies={})
        if newest:
            require_whole(newest, old.files)
        if settings is not None:
            _change_settings(folder, settings)
        with ReplayBuffer.open(folder) as buffer:
            buffer.tallies = dict(old.tallies)
            _require_places(root, buffer)
            yield buffer
            buffer.settle(SPARE)
        manifest = Manifest(files=_files(folder, newest, old), tallies=buffer.tallies)
        if newest is None or manifest.record != old.record:
            manifest.write(folder)


def drop(root: Path, is_unwanted: Callable[[Entry], bool]) -> int:
    """Forgets samples for good; how many."""
    with changing(root) as buffer:
        return buffer.forget(is_unwanted)


def _change_settings(folder: Path, wanted: BufferSettings) -> None:
    if any(folder.glob("segment-*")) and read_settings(folder) != wanted:
        # What a smaller quota once put out must not come back by chance under a larger one.
        ReplayBuffer.open(folder).tidy()
    wanted.write(folder)


def _require_places(root: Path, buffer: ReplayBuffer) -> None:
    if homeless := [domain for domain, quota in buffer.stats().quotas.items() if quota < 1]:
        raise UserError(f"{root}: its quotas leave no place for {', '.join(homeless)}; give a larger --capacity")


def _files(folder: Path, newest: Path | None, old: Manifest) -> dict[str, tuple[int, str]]:
    """Size and sha256 of every file, read only where it is not the very file that the old generation has."""
    files = {}
    for path in sorted(folder.iterdir()):
        is_known = newest is not None and path.name in old.files and _is_same(path, newest / path.name)
        files[path.name] = old.files[path.name] if is_known else (path.stat().st_size, sha256_file(path))
    return files


def _is_same(path: Path, other: Path) -> bool:
    return other.exists() and os.path.samefile(path, other)


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
