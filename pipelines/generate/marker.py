"""The marker of a committed unit: the size, hash and sample keys of its tar, so that any change is detected."""

import re
from dataclasses import dataclass

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import CLIP_ID

TAR_NAME = re.compile(r"[a-z0-9_-]+-[0-9a-f]{8}\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """``tar`` is the file name of the tar, of ``num_bytes``; ``keys`` are its samples in order.

    A pure function of the tar, without a timestamp or host name: every attempt with the same bytes has the same marker.
    """

    unit: str
    tar: str
    num_bytes: int
    sha256: str
    num_samples: int
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise UserError("sha256 must be 64 hex digits")
        if self.tar != tar_name(self.unit, self.sha256):
            raise UserError(f"tar must be {tar_name(self.unit, self.sha256)}, derived from unit and sha256")
        if not all(CLIP_ID.fullmatch(key) for key in self.keys):
            raise UserError("keys must be clip ids")
        if self.num_samples != len(self.keys):
            raise UserError(f"num_samples is {self.num_samples}, but there are {len(self.keys)} keys")


def tar_name(unit_id: str, sha256: str) -> str:
    """The file name of a tar, derived from its bytes: an attempt with other bytes gets another name."""
    return f"{unit_id}-{sha256[:8]}.tar"
