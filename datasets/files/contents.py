"""What the footage of a clip is, by its bytes: a file that was replaced under its name is another one.

Reading all of a large data set again takes long, so digests are noted with what the file system says of each file: its
size, its number, and when it last changed. Nobody but the file system can set the time of the last change, so a file
that was put back with its old size and date is read again.
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
from driveforge.datasets.files.atomic import replace_file, sha256_of
from driveforge.datasets.files.json_record import read_record

NOTES = "digests.json"
# Two changes within one tick of a file system's clock look like one.
_TICK_NS = 2_000_000_000

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Notes:
    """``files`` are what the file system said and the sha256, by path; ``digest`` is of them."""

    files: dict[str, tuple[Stamp, str]]
    digest: str

    def __post_init__(self) -> None:
        if self.digest != _digest_of(self.files):
            raise UserError("digest is not that of the files")


def digests_of(clips: Sequence[Sequence[Path]], folder: Path) -> list[str]:
    """sha256, in hex, of the files of each clip; "" where a clip has none. Notes are kept in ``folder``.

    A file that cannot be read counts as empty: whoever loads the clip says what is wrong with it.
    """
    files = dict.fromkeys(path for clip in clips for path in clip)
    if not files:
        return [""] * len(clips)
    known = _noted(folder / NOTES)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(files, pool.map(lambda path: _digested(path, known), files), strict=True))
    notes = known | {str(path): note for path, (note, is_settled) in found.items() if is_settled}
    if notes != known:
        with suppress(UserError):  # they only save work
            replace_file(folder / NOTES, json.dumps({"files": notes, "digest": _digest_of(notes)}).encode())
    return [_digest_of([found[path][0][1] for path in clip]) if clip else "" for clip in clips]


def _digested(path: Path, known: dict[str, tuple[Stamp, str]]) -> tuple[tuple[Stamp, str], bool]:
    """What the file system says of a file and its sha256, and whether that may be noted."""
    try:
        stamp = _stamp(path)
        noted = known.get(str(path))
        if noted is not None and noted[0] == stamp:
            return noted, True
        is_settled = max(stamp[2:]) < time.time_ns() - _TICK_NS
        return (stamp, sha256_of(path)), is_settled
    except OSError:
        return ((0, 0, 0, 0), ""), False


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _noted(path: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        return read_record(path, _Notes).files
    except UserError:
        return {}  # they only save work


def _digest_of(value: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
