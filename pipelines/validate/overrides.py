"""What a reviewer decided against, or in place of, the gate: ``overrides.json`` in the run folder.

{"<clip id>": {"verdict": "accept", "who": "anna", "why": "the truck really is that long"}}
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import read_record

VERDICTS = {"accept": "accepted", "reject": "rejected"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """A reviewer's word on one clip: ``state`` is accepted or rejected, ``who`` said it and ``why``."""

    clip_id: str
    state: str
    who: str
    why: str


def read_overrides(path: Path) -> dict[str, Override]:
    """Overrides by clip id; none where there is no file. A UserError names the clip and the key that is wrong."""
    if not path.exists():
        return {}
    words = read_record(path, dict[str, _Word], "correct it, or remove it to have the gate's verdicts alone")
    return {
        clip_id: Override(clip_id=clip_id, state=VERDICTS[word.verdict], who=word.who, why=word.why)
        for clip_id, word in words.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Word:
    """What the file says of one clip."""

    verdict: Literal["accept", "reject"]
    who: str
    why: str

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.why.strip():
            raise UserError("say who decided and why")
