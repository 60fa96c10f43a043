"""The integrity check of a persistent buffer: every byte against its sha256."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sha256_file
from driveforge.datasets.latents.shards import read_shard_header
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.generations import MANIFEST, lease_newest
from driveforge.replay.persistent import read_manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferAudit:
    """What was checked, and one line for each problem."""

    num_files: int
    num_bytes: int
    num_samples: int
    problems: tuple[str, ...]


def audit(root: Path) -> BufferAudit:
    """Check every file of the current generation in ``root``. Raises UserError if there is none."""
    folder, lease = lease_newest(root)
    try:
        files = read_manifest(folder).files
    except UserError as error:
        return BufferAudit(num_files=0, num_bytes=0, num_samples=0, problems=(str(error),))
    problems = [*_find_unknown_files(folder, set(files)), *_find_damaged_files(folder, files)]
    num_samples = 0
    if not problems:
        try:
            num_samples = len(ReplayBuffer.open(folder))
        except UserError as error:
            problems.append(str(error))
    del lease
    sizes = [size for size, _ in files.values()]
    return BufferAudit(num_files=len(files), num_bytes=sum(sizes), num_samples=num_samples, problems=tuple(problems))


def _find_unknown_files(folder: Path, known: set[str]) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.name not in known | {MANIFEST}:
            yield f"{folder.name}/{path.name}: does not belong to this buffer; remove it"


def _find_damaged_files(folder: Path, files: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    for name, (size, sha256) in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{folder.name}/{name}: is missing"
        elif (found := path.stat().st_size) != size:
            yield f"{folder.name}/{name}: has {found} bytes, expected {size}"
        elif sha256_file(path) != sha256:
            yield f"{folder.name}/{name}: differs from its sha256{_describe_clips(path)}"


def _describe_clips(path: Path) -> str:
    try:
        clips = [entry["clip_id"] for entry in read_shard_header(path).entries]
    except UserError:
        return ""
    more = f" and {len(clips) - 3} more" if len(clips) > 3 else ""
    return f"; it holds {', '.join(clips[:3])}{more}"
