"""Samples in WebDataset tars: offsets and bytes of their members, read in place without extraction to disk."""

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from driveforge.datasets.errors import UserError, shorten

_META = re.compile(r"(^|/)__[^/]*__($|/)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The location of one member: ``size`` bytes from ``offset`` in the tar."""

    offset: int
    size: int


def scan_tar(path: Path) -> dict[str, dict[str, Span]]:
    """Members by sample key, in the order of the tar; reads only its headers.

    A file name is split at its first dot into ``key.name``; its folder is ignored. Folders, hidden files, ``__meta__``
    entries and names without a dot are skipped, as webdataset does. Raises UserError if the tar is missing, damaged or
    truncated, or has a duplicate member or a link.
    """
    samples: dict[str, dict[str, Span]] = {}
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            size = file.seek(0, io.SEEK_END)
            for member in tar:
                if problem := _add_member(samples, member, size):
                    raise UserError(f"{path}: member {shorten(member.name)!r} {problem}")
            if problem := _check_end(file, tar.offset):
                raise UserError(f"{path}: {problem}")
    except UserError:
        raise
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, LookupError) as error:
        raise UserError(f"{path}: cannot be read as a tar ({shorten(error, 120)})") from error
    return samples


def _add_member(samples: dict[str, dict[str, Span]], member: tarfile.TarInfo, end: int) -> str:
    """Add ``member`` of a tar of ``end`` bytes to ``samples``; returns what is wrong with it, or ""."""
    # With a negative size, tarfile would seek back and never end.
    if member.size < 0 or member.offset_data + member.size > end:
        return "is truncated"
    base = member.name.rpartition("/")[2]
    key, _, name = base.partition(".")
    if member.isdir() or not key or not name or _META.search(member.name):
        return ""
    if not member.isreg() or member.issparse():
        return "is not a regular file; pack files instead of links (tar --dereference --hard-dereference)"
    members = samples.setdefault(key, {})
    if name in members:
        return "is duplicated" if "/" not in member.name else "is duplicated, possibly in two folders of the tar"
    members[name] = Span(offset=member.offset_data, size=member.size)
    return ""


def _check_end(file: IO[bytes], offset: int) -> str:
    """What is wrong with a tar whose members end at ``offset``, or ""; tarfile takes a damaged header for the end."""
    file.seek(offset)
    header = file.read(tarfile.BLOCKSIZE)
    if len(header) < tarfile.BLOCKSIZE:
        return "truncated, its end marker is missing"
    if any(header):
        return f"a header is damaged at byte {offset}"
    while rest := file.read(1 << 20):
        if any(rest):
            return "has data after its end marker, which readers ignore; if it was made with cat, use tar --concatenate"
    return ""


def read_members(path: Path, spans: Mapping[str, Span]) -> dict[str, bytes]:
    """The bytes of each span; raises UserError if the tar ends before a span does."""
    members: dict[str, bytes] = {}
    try:
        with open(path, "rb") as file:
            for name, span in spans.items():
                file.seek(span.offset)
                members[name] = file.read(span.size)
                if len(members[name]) != span.size:
                    raise UserError(f"{path}: truncated inside {name}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return members


def read_samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield every sample of a tar as (key, members)."""
    for key, spans in scan_tar(path).items():
        yield key, read_members(path, spans)
