"""A reviewer's overrides of the gate: ``overrides.json`` in the run folder.

{"<clip id>": {"verdict": "accept", "reviewer": "anna", "reason": "the truck really is that long"}}
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import read_record

VERDICT_STATES = {"accept": "accepted", "reject": "rejected"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """A reviewer's decision on one clip: ``state`` is "accepted" or "rejected"."""

    clip_id: str
    state: str
    reviewer: str
    reason: str


def read_overrides(path: Path) -> dict[str, Override]:
    """Overrides by clip id; empty if there is no file. Raises UserError with the clip and the key that is wrong."""
    if not path.exists():
        return {}
    entries = read_record(path, dict[str, _OverrideEntry], "correct it, or remove it to use the gate's verdicts only")
    return {
        clip_id: Override(
            clip_id=clip_id, state=VERDICT_STATES[entry.verdict], reviewer=entry.reviewer, reason=entry.reason
        )
        for clip_id, entry in entries.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _OverrideEntry:
    """The entry of one clip in the file."""

    verdict: Literal["accept", "reject"]
    reviewer: str
    reason: str

    def __post_init__(self) -> None:
        if not self.reviewer.strip() or not self.reason.strip():
            raise UserError("reviewer and reason must not be empty")
