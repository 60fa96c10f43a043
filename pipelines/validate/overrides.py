"""What a reviewer decided against, or in place of, the gate: ``overrides.json`` in the run folder.

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
    """A reviewer's word on one clip: ``state`` is accepted or rejected, ``reviewer`` said it and ``reason``."""

    clip_id: str
    state: str
    reviewer: str
    reason: str


def read_overrides(path: Path) -> dict[str, Override]:
    """Overrides by clip id; none where there is no file. A UserError names the clip and the key that is wrong."""
    if not path.exists():
        return {}
    entries = read_record(path, dict[str, _OverrideEntry], "correct it, or remove it to have the gate's verdicts alone")
    return {
        clip_id: Override(
            clip_id=clip_id, state=VERDICT_STATES[entry.verdict], reviewer=entry.reviewer, reason=entry.reason
        )
        for clip_id, entry in entries.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _OverrideEntry:
    """What the file says of one clip."""

    verdict: Literal["accept", "reject"]
    reviewer: str
    reason: str

    def __post_init__(self) -> None:
        if not self.reviewer.strip() or not self.reason.strip():
            raise UserError("say who decided and why")
