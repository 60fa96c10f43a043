"""Digests of the footage of clips, to detect files that were replaced under the same name.

Hashing a large data set is slow, so digests are cached by size, inode, mtime and ctime of each file. Users cannot
set the ctime, so a file that was replaced with one of the same size and date is hashed again.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sha256_file, write_atomic
from driveforge.datasets.files.json_record import read_record

DIGEST_CACHE = "digests.json"
# Two changes within one tick of the file system's clock have the same timestamps.
_CLOCK_TICK_NS = 2_000_000_000

FileStamp = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _DigestCache:
    """Stamp and sha256 of each file by path; ``digest`` is the digest of ``files``."""

    files: dict[str, tuple[FileStamp, str]]
    digest: str

    def __post_init__(self) -> None:
        if self.digest != _hash_json(self.files):
            raise UserError("digest does not match the files")


def compute_digests(clips: Sequence[Sequence[Path]], folder: Path) -> list[str]:
    """The sha256 in hex of the files of each clip, "" for a clip without files. The cache is in ``folder``.

    A file that cannot be read counts as empty; loading its clip reports the error.
    """
    files = dict.fromkeys(path for clip in clips for path in clip)
    if not files:
        return [""] * len(clips)
    cached = _read_cache(folder / DIGEST_CACHE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digested = dict(zip(files, pool.map(lambda path: _digest_file(path, cached), files), strict=True))
    updated = cached | {str(path): entry for path, (entry, is_settled) in digested.items() if is_settled}
    if updated != cached:
        with suppress(UserError):  # the cache is optional
            write_atomic(folder / DIGEST_CACHE, json.dumps({"files": updated, "digest": _hash_json(updated)}).encode())
    return [_hash_json([digested[path][0][1] for path in clip]) if clip else "" for clip in clips]


def _digest_file(path: Path, cached: dict[str, tuple[FileStamp, str]]) -> tuple[tuple[FileStamp, str], bool]:
    """The stamp and sha256 of a file, and whether they may be cached: not if it changed within the last tick."""
    try:
        stamp = _read_stamp(path)
        entry = cached.get(str(path))
        if entry is not None and entry[0] == stamp:
            return entry, True
        is_settled = max(stamp[2:]) < time.time_ns() - _CLOCK_TICK_NS
        return (stamp, sha256_file(path)), is_settled
    except OSError:
        return ((0, 0, 0, 0), ""), False


def _read_stamp(path: Path) -> FileStamp:
    status = path.stat()
    return (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _read_cache(path: Path) -> dict[str, tuple[FileStamp, str]]:
    try:
        return read_record(path, _DigestCache).files
    except UserError:
        return {}  # the cache is optional


def _hash_json(value: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
