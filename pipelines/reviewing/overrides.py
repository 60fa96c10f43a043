"""What a reviewer decided against, or in place of, the gate: ``overrides.json`` in the run folder.

{"<clip id>": {"verdict": "accept", "who": "anna", "why": "the truck really is that long"}}
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import UserError

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
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error})") from error
    if not isinstance(records, dict):
        raise UserError(f'{path}: must be an object such as {{"<clip id>": {{"verdict": "accept", ...}}}}')
    return {clip_id: _override(clip_id, record, f"{path}: {clip_id}") for clip_id, record in records.items()}


def _override(clip_id: str, record: Any, where: str) -> Override:
    wanted = ("verdict", "who", "why")
    if (
        not isinstance(record, dict)
        or set(record) != set(wanted)
        or not all(isinstance(v, str) for v in record.values())
    ):
        raise UserError(f"{where}: must have {', '.join(wanted)}, each a text")
    if record["verdict"] not in VERDICTS:
        raise UserError(f"{where}: verdict {record['verdict']!r} is not one of {', '.join(VERDICTS)}")
    if not record["who"].strip() or not record["why"].strip():
        raise UserError(f"{where}: say who decided and why")
    return Override(clip_id=clip_id, state=VERDICTS[record["verdict"]], who=record["who"], why=record["why"])
