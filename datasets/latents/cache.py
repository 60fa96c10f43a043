"""The latent cache: clips encoded once by the VAE, with their conditioning, for all epochs.

A cache is stored in ``<root>/<key>``. The key is a hash of the source, the transform and the VAE, so latents of another
VAE are never used. Shards are not modified once complete; ``index.json``, which has the digest of each, is written
last.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import make_folder, write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.latents.shards import (
    LatentSample,
    LatentShard,
    OpenShards,
    ShardHeader,
    check_storable,
    read_shard_header,
    write_shard,
)

__all__ = ["LatentCache", "LatentCacheWriter", "LatentSample", "latent_key", "write_latents"]

INDEX = "index.json"
FORMAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Index:
    """``shards`` are the digests of the shards, in order."""

    format: int
    key: str
    shards: tuple[str, ...]


def latent_key(source: str, transform: Mapping[str, Any], vae_digest: str) -> str:
    """The key of a cache: 16 hex digits, a hash of the source, the transform and the VAE."""
    identity = json.dumps([FORMAT, source, transform, vae_digest], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def write_latents(root: Path, key: str, samples: Iterable[LatentSample], *, shard_size: int = 64) -> "LatentCache":
    """Store the samples that are not in the cache yet; check ``LatentCacheWriter.stored`` to avoid encoding them."""
    with LatentCacheWriter(root, key, shard_size=shard_size) as writer:
        for sample in samples:
            if sample.clip_id not in writer.stored:
                writer.add(sample)
    return LatentCache(root, key)


class LatentCacheWriter:
    """Writes a cache and continues one whose writer was interrupted.

    ``stored`` has the clip ids that are already in the cache. If the context exits with an exception, added samples are
    kept without an index; otherwise the cache becomes readable. Clips added in the same order give the same bytes, with
    or without interruptions.
    """

    def __init__(self, root: Path, key: str, *, shard_size: int = 64) -> None:
        self._folder = Path(root) / key
        self._key = key
        self._shard_size = shard_size
        make_folder(self._folder)
        headers = [read_shard_header(path) for path in _shard_paths(self._folder)]
        self._entries = [header.entries for header in headers]
        self._digests = [header.digest for header in headers]
        self._pending: list[LatentSample] = []
        self._tensor_specs = LatentShard(_shard_path(self._folder, 0)).sample(0).tensor_specs if self._entries else None
        self.stored = {entry["clip_id"] for entries in self._entries for entry in entries}

    def add(self, sample: LatentSample) -> None:
        """Store one clip; raises UserError if it is a duplicate, not finite, or has other shapes or dtypes."""
        if sample.clip_id in self.stored:
            raise UserError(
                f"clip {sample.clip_id} is already in the latent cache {self._folder}; clip ids must be unique"
            )
        check_storable(sample, self._tensor_specs)
        self._tensor_specs = sample.tensor_specs
        if not self._pending and self._entries and len(self._entries[-1]) < self._shard_size:
            self._reopen_last_shard()
        self._pending.append(sample)
        self.stored.add(sample.clip_id)
        if len(self._pending) == self._shard_size:
            self._write_pending()

    def __enter__(self) -> "LatentCacheWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._pending:
            self._write_pending()
        if kind is None:
            self._write_index()

    def _reopen_last_shard(self) -> None:
        # An incomplete last shard is filled up, so that shards do not depend on interruptions.
        last = LatentShard(_shard_path(self._folder, len(self._entries) - 1))
        self._pending = [last.sample(row) for row in range(len(last))]
        self._entries.pop()
        self._digests.pop()

    def _write_pending(self) -> None:
        self._digests.append(write_shard(_shard_path(self._folder, len(self._entries)), self._pending))
        self._entries.append([sample.entry for sample in self._pending])
        self._pending = []

    def _write_index(self) -> None:
        index = _Index(format=FORMAT, key=self._key, shards=tuple(self._digests))
        path, content = self._folder / INDEX, json.dumps(asdict(index), indent=1).encode()
        # Several processes may find a finished cache at the same time: do not overwrite the index of another one.
        if not path.is_file() or path.read_bytes() != content:
            write_atomic(path, content)


class LatentCache:
    """A finished cache, read through memory maps. Can be pickled to data loader processes.

    Raises UserError if it is unfinished, if a shard is missing or does not match the index, or, on the first read of a
    clip, if its checksum is wrong.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.folder = Path(root) / key
        self.key = key
        self._digest: str | None = None
        digests = _read_index(Path(root), key).shards
        paths = [_shard_path(self.folder, number) for number in range(len(digests))]
        if len(actual := _shard_paths(self.folder)) > len(paths):
            raise UserError(
                f"{self.folder / INDEX}: lists {len(paths)} of {len(actual)} shards; delete {self.folder} and run again"
            )
        headers = [_read_checked_header(path, digest) for path, digest in zip(paths, digests, strict=True)]
        entries = [entry for header in headers for entry in header.entries]
        self.clip_ids: tuple[str, ...] = tuple(entry["clip_id"] for entry in entries)
        self.domains: tuple[str, ...] = tuple(entry["domain"] for entry in entries)
        self._files = [path.name for path in paths]
        self._starts = list(accumulate((len(header.entries) for header in headers), initial=0))
        self._shards = OpenShards(self.folder)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def sample(self, i: int) -> LatentSample:
        position = range(len(self))[i]
        shard = bisect_right(self._starts, position) - 1
        return self._shards[self._files[shard]].sample(position - self._starts[shard])

    def digest(self) -> str:
        """sha256 of the content; reads every clip once to verify its checksum."""
        if self._digest is None:
            digests = (self.sample(number).digest() for number in range(len(self)))
            self._digest = hashlib.sha256(json.dumps(list(digests)).encode()).hexdigest()
        return self._digest

    def indices(self, domain: str) -> tuple[int, ...]:
        """Indices of the samples of one domain."""
        return tuple(i for i, name in enumerate(self.domains) if name == domain)


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.safetensors"


def _shard_paths(folder: Path) -> list[Path]:
    """Consecutive shards from the first; shards after a missing one are written again."""
    paths: list[Path] = []
    while (path := _shard_path(folder, len(paths))).exists():
        paths.append(path)
    return paths


def _read_checked_header(path: Path, digest: str) -> ShardHeader:
    found = read_shard_header(path)
    if found.digest != digest:
        raise UserError(f"{path}: is not the shard that {INDEX} lists; delete {path.parent} and run again")
    return found


def _read_index(root: Path, key: str) -> _Index:
    path = root / key / INDEX
    if not path.exists():
        raise UserError(_describe_missing(root, key))
    index = read_record(path, _Index, f"delete {path.parent} and run again")
    if (index.format, index.key) != (FORMAT, key):
        raise UserError(
            f"{path}: was made with another source, transform or VAE "
            f"(its key is {shorten(index.key)}, expected {key}); "
            f"delete {path.parent} and run again"
        )
    return index


def _describe_missing(root: Path, key: str) -> str:
    if (root / key).exists():
        return f"the latent cache {root / key} is unfinished; run the same `driveforge cache` again to finish it"
    others = sorted(path.parent.name for path in root.glob(f"*/{INDEX}"))
    if others:
        return (
            f"no latents with key {key} in {root}: existing ones ({', '.join(others)}) were made with another source, "
            "transform or VAE; run `driveforge cache`"
        )
    return f"no latents with key {key} in {root}; run `driveforge cache` first"
