"""Reproducible WebDataset tars, read back after writing."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sha256_file, translate_write_errors
from driveforge.datasets.scene import CLIP_ID
from driveforge.datasets.webdataset_shards.format import EXTENSIONS
from driveforge.datasets.webdataset_shards.tar_samples import scan_tar


@dataclass(frozen=True, kw_only=True, slots=True)
class TarSummary:
    """A tar on disk: ``keys`` of its samples in order, ``num_bytes`` and ``sha256`` of the file."""

    path: Path
    num_samples: int
    num_bytes: int
    sha256: str
    keys: tuple[str, ...]


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> TarSummary:
    """Write ``(key, members)`` samples to a tar at ``path``, sync it to disk, read it back and summarize it.

    Times and owners are fixed, so the same samples give the same bytes. Raises UserError for a key that WebDataset
    would split, a duplicate key, a member type that is not allowed (such as a pickle), or an incomplete write.
    """
    from webdataset import TarWriter  # imports torch, which readers of commit logs do not need

    keys: dict[str, None] = {}
    with translate_write_errors(path), open(path, "wb") as file:
        with TarWriter(file, user="driveforge", group="driveforge", mtime=0, encoder=False) as tar:
            for key, members in samples:
                _check_sample(key, members, keys)
                keys[key] = None
                tar.write({"__key__": key, **members})
        file.flush()
        os.fsync(file.fileno())
    summary = summarize_tar(path)
    if summary.keys != tuple(keys):
        raise UserError(f"{path}: wrote {len(keys)} samples but read back {summary.num_samples}; is the disk full?")
    return summary


def summarize_tar(path: Path) -> TarSummary:
    """List the samples of the tar at ``path`` and hash its bytes; raises UserError if it is not a complete tar."""
    keys = tuple(scan_tar(path))
    return TarSummary(
        path=path, num_samples=len(keys), num_bytes=path.stat().st_size, sha256=sha256_file(path), keys=keys
    )


def _check_sample(key: str, members: Mapping[str, bytes], keys: Mapping[str, None]) -> None:
    if not CLIP_ID.fullmatch(key):
        raise UserError(f"sample key {key!r} may hold only a-z, 0-9, '-' and '_'")
    if key in keys:
        raise UserError(f"sample key {key!r} is used twice")
    if not members:
        raise UserError(f"sample {key!r} has no members")
    for name in members:
        if name.rpartition(".")[2] not in EXTENSIONS:
            raise UserError(f"sample {key!r}: member {name!r} is not one of {', '.join(EXTENSIONS)}")
