"""Samples inside WebDataset tars: where their members stand, and their bytes. Nothing is ever extracted to a path."""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The bytes of one member: ``size`` of them from ``offset`` in the tar."""

    offset: int
    size: int


def scan_tar(path: Path) -> dict[str, dict[str, Span]]:
    """Members by sample key (all before the first dot), in the tar's order, from its headers alone.

    A UserError names the tar where it is missing, damaged, or holds a member twice or something that is not a plain
    ``key.name`` file.
    """
    samples: dict[str, dict[str, Span]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                members = samples.setdefault(key, {})
                if not member.isreg() or not key or not name or name in members:
                    raise UserError(f"{path}: member {member.name!r} is there twice, or is not a plain key.name file")
                members[name] = Span(offset=member.offset_data, size=member.size)
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a tar ({error})") from error
    return samples


def read_members(path: Path, spans: Mapping[str, Span]) -> dict[str, bytes]:
    """The bytes of each span; a UserError where the tar ends before one does."""
    members: dict[str, bytes] = {}
    try:
        with open(path, "rb") as file:
            for name, span in spans.items():
                file.seek(span.offset)
                members[name] = file.read(span.size)
                if len(members[name]) != span.size:
                    raise UserError(f"{path}: cut short inside {name}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return members


def read_samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Every sample of a tar as (key, members), one at a time."""
    for key, spans in scan_tar(path).items():
        yield key, read_members(path, spans)
