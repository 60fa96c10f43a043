"""A replay buffer that is shared by runs: updated atomically while others read it, with a sha256 of every file."""

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

# Dead samples on disk, as a share of the live ones; a lower limit rewrites more often.
MAX_DEAD_SHARE = 0.1
NOT_STATED = "not stated"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _RunningMeanRecord:
    count: int
    total: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _ManifestFile:
    """The content of ``manifest.json``; ``digest`` is the sha256 of the other fields."""

    format: int
    files: dict[str, tuple[int, str]]
    running_means: dict[str, _RunningMeanRecord]
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Size and sha256 of every other file of a generation, and the ``running_means`` of the buffer by domain."""

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
        # The manifest carries its own digest, since it cannot list itself.
        write_atomic(
            folder / MANIFEST, json.dumps(self.record | {"digest": _digest(self.record)}, sort_keys=True).encode()
        )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a generation. Raises UserError if it is missing or damaged."""
    path, advice = folder / MANIFEST, "delete this buffer and fill it again"
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
    """Raise UserError if a file of a generation is missing, unknown, or has another size.

    Segments check their content when they are read, so only the settings are hashed here.
    """
    present = {path.name for path in folder.iterdir() if _is_buffer_file(path.name)}
    for name in sorted(present ^ set(filter(_is_buffer_file, files))):
        fault = "is missing" if name in files else "does not belong to this buffer"
        raise UserError(f"{folder / name}: {fault}; see `driveforge replay verify`")
    for name, (size, sha256) in files.items():
        if not _is_buffer_file(name):
            continue
        found = (folder / name).stat().st_size
        if found != size or (name == SETTINGS and sha256_file(folder / name) != sha256):
            raise UserError(f"{folder / name}: was changed after it was written; see `driveforge replay verify`")


def _is_buffer_file(name: str) -> bool:
    return name == SETTINGS or name.startswith("segment-")


class PersistentBuffer(ReplayBuffer):
    """One generation of a persistent buffer, for reading; it does not change while others update the buffer."""

    lease: Lease


def open_persistent(root: Path, *, key: str = "", licenses: Collection[str] | None = None) -> PersistentBuffer:
    """The current state of the buffer in ``root``, restricted to clips under one of ``licenses`` if given.

    Raises UserError if there is no buffer, if it has another ``key`` (unless empty), or if no clip remains.
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
    """The license of a sample, ``NOT_STATED`` if it has none."""
    return str(entry.get("origin", {}).get("license") or NOT_STATED)


def read_persistent_settings(root: Path) -> BufferSettings | None:
    """The settings of the buffer in ``root``, None if there is no buffer yet."""
    return read_settings(found[-1]) if (found := list_generations(root)) else None


def require_key(root: Path, settings: BufferSettings, key: str) -> None:
    if key and settings.key != key:
        raise UserError(
            f"{root}: this replay buffer was filled with another VAE, or with clips of another size, rate or length; "
            "use the model and data settings it was filled with, or another replay.buffer"
        )


@contextmanager
def update_transaction(root: Path, settings: BufferSettings | None = None) -> Iterator[ReplayBuffer]:
    """The buffer in ``root`` for changes, created with ``settings`` if given.

    All changes become visible together when the block ends without an exception; otherwise, and after a kill, nothing
    changes. Readers keep the generation they opened. Raises UserError if another process is changing the buffer.
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
    """Delete samples from the buffer; how many."""
    with update_transaction(root) as buffer:
        return buffer.remove(should_remove)


def _update_settings(folder: Path, wanted: BufferSettings) -> None:
    if any(folder.glob("segment-*")) and read_settings(folder) != wanted:
        # Samples that an old quota evicted, but that are still on disk, must not return under a larger quota.
        ReplayBuffer.open(folder).vacuum()
    wanted.write(folder)


def _require_quotas(root: Path, buffer: ReplayBuffer) -> None:
    if zero_quota := [domain for domain, quota in buffer.stats().quotas.items() if quota < 1]:
        raise UserError(f"{root}: its quotas leave no space for {', '.join(zero_quota)}; give a larger --capacity")


def _list_files(folder: Path, newest: Path | None, old: Manifest) -> dict[str, tuple[int, str]]:
    """Size and sha256 of every file; files that are hard links to the old generation are not read again."""
    files = {}
    for path in sorted(folder.iterdir()):
        is_known = newest is not None and path.name in old.files and _is_same(path, newest / path.name)
        files[path.name] = old.files[path.name] if is_known else (path.stat().st_size, sha256_file(path))
    return files


def _is_same(path: Path, other: Path) -> bool:
    return other.exists() and os.path.samefile(path, other)


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
