"""The marker of a committed unit: what is in its tar, to the byte, so that nothing in either can change unnoticed."""

import re
from dataclasses import dataclass

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import CLIP_ID

TAR_NAME = re.compile(r"[a-z0-9_-]+-[0-9a-f]{8}\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """``tar`` is the name of the tar under the root, of ``num_bytes``; ``keys`` are its samples in order.

    A function of the tar alone, without a clock or a machine's name in it: whoever makes the unit leaves the same one.
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
            raise UserError(f"tar must be {tar_name(self.unit, self.sha256)}, as unit and sha256 say")
        if not all(CLIP_ID.fullmatch(key) for key in self.keys):
            raise UserError("keys must be clip ids")
        if self.num_samples != len(self.keys):
            raise UserError(f"num_samples is {self.num_samples}, but there are {len(self.keys)} keys")


def tar_name(unit_id: str, sha256: str) -> str:
    """The name that its bytes decide: another attempt with other bytes gets another name."""
    return f"{unit_id}-{sha256[:8]}.tar"
