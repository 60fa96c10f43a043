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
from driveforge.replay.generations import MANIFEST, Lease, lease_newest, list_generations, next_generation
from driveforge.replay.retention import RunningMean
from driveforge.replay.segments import Entry
from driveforge.replay.settings import SETTINGS, BufferSettings, read_settings

# Of what is alive, the part that may lie dead on disk; less would rewrite more.
MAX_DEAD_SHARE = 0.1
NOT_STATED = "not stated"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _RunningMeanRecord:
    count: int
    total: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _ManifestFile:
    """``manifest.json`` as it is written; ``digest`` is of the rest."""

    format: int
    files: dict[str, tuple[int, str]]
    running_means: dict[str, _RunningMeanRecord]
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """``files`` are the size and sha256 of every other file of the generation, ``running_means`` those of the buffer."""

    files: Mapping[str, tuple[int, str]]
    running_means: Mapping[str, RunningMean]

    @property
    def record(self) -> dict[str, Any]:
        running_means = {
            name: {"count": running_mean.count, "total": running_mean.total.tolist()}
            for name, running_mean in self.running_means.items()
        }
        return {
            "format": FORMAT,
            "files": {name: list(file) for name, file in self.files.items()},
            "running_means": running_means,
        }

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
    running_means = {
        name: RunningMean(count=running_mean.count, total=np.asarray(running_mean.total, np.float64))
        for name, running_mean in found.running_means.items()
    }
    return Manifest(files=found.files, running_means=running_means)


def require_intact(folder: Path, files: Mapping[str, tuple[int, str]]) -> None:
    """A UserError where a file of a generation is missing, altered, or not its own; segments tell their own rot."""
    there = {path.name for path in folder.iterdir() if _is_buffer_file(path.name)}
    for name in sorted(there ^ set(filter(_is_buffer_file, files))):
        fault = "is missing" if name in files else "was not written by this buffer"
        raise UserError(f"{folder / name}: {fault}; see `driveforge replay verify`")
    for name, (size, sha256) in files.items():
        if not _is_buffer_file(name):
            continue
        found = (folder / name).stat().st_size
        if found != size or (name == SETTINGS and sha256_file(folder / name) != sha256):
            raise UserError(f"{folder / name}: is not as it was written; see `driveforge replay verify`")


def _is_buffer_file(name: str) -> bool:
    """Whether a buffer is made of files that are called so; others may lie there."""
    return name == SETTINGS or name.startswith("segment-")


class PersistentBuffer(ReplayBuffer):
    """A generation of a standing buffer, for reading: it stays as it is while others add to the buffer."""

    lease: Lease


def open_persistent(root: Path, *, key: str = "", licenses: Collection[str] | None = None) -> PersistentBuffer:
    """The buffer in ``root`` as it is now; with ``licenses``, only what is under one of them.

    A UserError where there is none, where its ``key`` is another (a ``key`` that is given), or where nothing is left.
    """
    folder, lease = lease_newest(root)
    require_intact(folder, read_manifest(folder).files)
    buffer = PersistentBuffer.open(folder)
    buffer.lease = lease
    require_key(root, buffer.settings, key)
    if licenses is not None:
        buffer.exclude(lambda entry: get_license(entry) not in licenses)
    if not len(buffer):
        under = f" under {', '.join(licenses) or 'no license'}" if licenses is not None else ""
        raise UserError(f"{root}: this replay buffer holds no clips{under}; see `driveforge replay stats`")
    return buffer


def get_license(entry: Entry) -> str:
    """As it was stated; ``NOT_STATED`` where it was not."""
    return str(entry.get("origin", {}).get("license") or NOT_STATED)


def read_persistent_settings(root: Path) -> BufferSettings | None:
    """None where there is no buffer yet."""
    return read_settings(found[-1]) if (found := list_generations(root)) else None


def require_key(root: Path, settings: BufferSettings, key: str) -> None:
    if key and settings.key != key:
        raise UserError(
            f"{root}: this replay buffer was filled with another codec, or clips of another size, rate or length; "
            "use the model and data settings that it was filled with, or another replay.buffer"
        )


@contextmanager
def update_transaction(root: Path, settings: BufferSettings | None = None) -> Iterator[ReplayBuffer]:
    """The buffer in ``root``, made if ``settings`` are given, to be offered to or to forget.

    When the block ends well, all of it takes the old state's place at once; otherwise, and after a kill, the old state
    is as it was. Readers keep what they have opened. A UserError where another process is changing it.
    """
    if settings is None and read_persistent_settings(root) is None:
        lease_newest(root)
    with next_generation(root) as (folder, newest):
        old = read_manifest(newest) if newest else Manifest(files={}, running_means={})
        if newest:
            require_intact(newest, old.files)
        if settings is not None:
            _update_settings(folder, settings)
        with ReplayBuffer.open(folder) as buffer:
            buffer.running_means = dict(old.running_means)
            _require_quotas(root, buffer)
            yield buffer
            buffer.compact(MAX_DEAD_SHARE)
        manifest = Manifest(files=_list_files(folder, newest, old), running_means=buffer.running_means)
        if newest is None or manifest.record != old.record:
            manifest.write(folder)


def remove_samples(root: Path, should_remove: Callable[[Entry], bool]) -> int:
    """Forgets samples for good; how many."""
    with update_transaction(root) as buffer:
        return buffer.remove(should_remove)


def _update_settings(folder: Path, wanted: BufferSettings) -> None:
    if any(folder.glob("segment-*")) and read_settings(folder) != wanted:
        # What a smaller quota once put out must not come back by chance under a larger one.
        ReplayBuffer.open(folder).vacuum()
    wanted.write(folder)


def _require_quotas(root: Path, buffer: ReplayBuffer) -> None:
    if zero_quota := [domain for domain, quota in buffer.stats().quotas.items() if quota < 1]:
        raise UserError(f"{root}: its quotas leave no place for {', '.join(zero_quota)}; give a larger --capacity")


def _list_files(folder: Path, newest: Path | None, old: Manifest) -> dict[str, tuple[int, str]]:
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
