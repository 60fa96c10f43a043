"""Reproducible WebDataset tars, hashed while they are written."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sha256_file, translate_write_errors
from driveforge.datasets.files.hashing_writer import COPY_BYTES, HashingWriter
from driveforge.datasets.scene import CLIP_ID
from driveforge.datasets.webdataset_shards.format import EXTENSIONS
from driveforge.datasets.webdataset_shards.tar_samples import scan_tar

# ``zipfile.is_zipfile``, and thus mlcroissant, takes a tar for a zip if the last 64 KiB hold the end of a zip, such as
# that of an npz. Tars may end with any number of zeros; this is a multiple of the record size.
_END_BYTES = 7 * tarfile.RECORDSIZE


@dataclass(frozen=True, kw_only=True, slots=True)
class TarSummary:
    """A tar on disk: ``keys`` of its samples in order, ``num_bytes`` and ``sha256`` of the file."""

    path: Path
    num_samples: int
    num_bytes: int
    sha256: str
    keys: tuple[str, ...]


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> TarSummary:
    """Write ``(key, members)`` samples to a tar at ``path``, sync it to disk, list it again and summarize it.

    Times and owners are fixed and members sorted, so the same samples give the same bytes: those of webdataset's
    ``TarWriter``, and more zeros at the end. Raises UserError for a key that WebDataset would split, a duplicate key, a
    member type that is not allowed (such as a pickle), or an incomplete write.
    """
    keys: dict[str, None] = {}
    with translate_write_errors(path), open(path, "wb") as file, HashingWriter(file) as hashed:
        # TarWriter writes blocks of 10 kB through a Python buffer, which takes most of its time.
        stream = cast(IO[bytes], hashed)
        with tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT, copybufsize=COPY_BYTES) as tar:
            for key, members in samples:
                _check_sample(key, members, keys)
                keys[key] = None
                for name in sorted(members):
                    tar.addfile(_tar_info(f"{key}.{name}", len(members[name])), io.BytesIO(members[name]))
        hashed.write(bytes(_END_BYTES))
        sha256, num_bytes = hashed.finish()
    if tuple(scan_tar(path)) != tuple(keys) or path.stat().st_size != num_bytes:
        raise UserError(f"{path}: is not complete after {len(keys)} samples were written; is the disk full?")
    return TarSummary(path=path, num_samples=len(keys), num_bytes=num_bytes, sha256=sha256, keys=tuple(keys))


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o444, 0
    info.uname = info.gname = "driveforge"
    return info


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
