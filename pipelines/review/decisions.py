"""The decisions of reviewers: ``decisions.jsonl`` in the run folder, one line of JSON each, in the order of time.

Lines are only ever added, and synced to disk before a decision is confirmed. The last line may be incomplete if a
writer was killed; such a decision was never confirmed.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sync_folder, translate_write_errors
from driveforge.datasets.files.json_record import parse_record
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.scene import CLIP_ID
from driveforge.pipelines.console import print_message
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.overrides import VERDICT_STATES, Override, read_overrides

MAX_REVIEWER, MAX_NOTE = 80, 2000
_HINT = "correct or remove this line"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewDecision:
    """What one reviewer decided on one clip; a later decision of the same reviewer replaces it.

    "unsure" leaves the clip to the gate, "cleared" withdraws the reviewer's decision. ``time`` is UTC in ISO 8601;
    ``blind``: the reviewer did not see the gate's verdict.
    """

    clip: str
    reviewer: str
    verdict: Literal["accept", "reject", "unsure", "cleared"]
    note: str = ""
    time: str
    blind: bool = False

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.clip):
            raise UserError("clip must be a clip id")
        if not self.reviewer.strip() or len(self.reviewer) > MAX_REVIEWER or not self.reviewer.isprintable():
            raise UserError(f"reviewer must be a name of 1 to {MAX_REVIEWER} printable characters")
        if len(self.note) > MAX_NOTE:
            raise UserError(f"note must have at most {MAX_NOTE} characters")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionLog:
    """All decisions of a run, oldest first; ``torn`` is the number of bytes of an incomplete last line."""

    decisions: tuple[ReviewDecision, ...] = ()
    torn: int = 0


def now_utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_decision_log(path: Path) -> DecisionLog:
    """The decisions at ``path``; none if there is no file. Raises UserError with the line that is wrong."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return DecisionLog()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    whole, _, torn = content.rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    return DecisionLog(
        decisions=tuple(
            parse_record(line, ReviewDecision, f"{path}: line {number}", _HINT)
            for number, line in enumerate(lines, 1)
            if line.strip()
        ),
        torn=len(torn),
    )


def append_decision(path: Path, decision: ReviewDecision) -> None:
    """Add one line and sync it to disk; concurrent writers wait for each other.

    An incomplete last line of a killed writer is moved to ``<path>.torn`` first.
    """
    line = json.dumps(asdict(decision), ensure_ascii=False).encode() + b"\n"
    with file_lock(path.with_name(f".{path.name}.lock")), translate_write_errors(path):
        is_new = not path.exists()
        with open(path, "ab+") as file:
            end = file.seek(0, os.SEEK_END)
            start = _start_of_last_line(path) if end else 0
            if start < end:
                file.seek(start)
                with open(path.with_name(f"{path.name}.torn"), "ab") as aside:
                    aside.write(file.read() + b"\n")
                    aside.flush()
                    os.fsync(aside.fileno())
                file.truncate(start)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(path.parent)


def _start_of_last_line(path: Path) -> int:
    """The offset after the last line end: the file's size if its last line is complete."""
    return path.read_bytes().rfind(b"\n") + 1


def current_decisions(decisions: Iterable[ReviewDecision]) -> dict[str, dict[str, ReviewDecision]]:
    """The last decision of every reviewer by clip, without those that were cleared."""
    latest: dict[str, dict[str, ReviewDecision]] = {}
    for decision in decisions:
        latest.setdefault(decision.clip, {})[decision.reviewer] = decision
    kept = {
        clip: {name: one for name, one in by_reviewer.items() if one.verdict != "cleared"}
        for clip, by_reviewer in latest.items()
    }
    return {clip: by_reviewer for clip, by_reviewer in kept.items() if by_reviewer}


def agree(decisions: Collection[ReviewDecision]) -> str:
    """The verdict of several reviewers on a clip: "reject" if one rejects, else "accept" if one accepts, else "".

    A broken clip in a training set costs more than a good clip that is left out.
    """
    verdicts = {decision.verdict for decision in decisions}
    return next((verdict for verdict in ("reject", "accept") if verdict in verdicts), "")


def overrides_of(decisions: Sequence[ReviewDecision]) -> dict[str, Override]:
    """The override of the gate for every clip on which reviewers decided."""
    overrides = {}
    for clip, by_reviewer in current_decisions(decisions).items():
        if verdict := agree(by_reviewer.values()):
            deciding = [one for one in by_reviewer.values() if one.verdict == verdict]
            overrides[clip] = Override(
                clip_id=clip,
                state=VERDICT_STATES[verdict],
                reviewer=", ".join(sorted(one.reviewer for one in deciding)),
                reason="; ".join(one.note for one in deciding if one.note),
            )
    return overrides


def read_review_overrides(run: RunDir) -> dict[str, Override]:
    """What reviewers decided on the clips of a run: an entry of ``overrides.json`` wins over ``decisions.jsonl``.

    A person writes it by hand, with a reason, for a single clip, for example after reviewers disagreed. Prints a
    message if the last decision is incomplete.
    """
    log = read_decision_log(run.decisions)
    if log.torn:
        print_message(
            f"{run.decisions}: the last line is incomplete, its writer was killed; that decision was not confirmed "
            f"and does not count, the {len(log.decisions)} before it do"
        )
    return overrides_of(log.decisions) | read_overrides(run.overrides)


def without_unknown(overrides: Mapping[str, Override], known: Collection[str], run: RunDir) -> dict[str, Override]:
    """``overrides`` without decisions on clips that the run no longer has, which are counted in a message.

    Clips of ``overrides.json`` are kept: a wrong id there is a mistake of its writer.
    """
    by_hand = read_overrides(run.overrides)
    kept = {clip: override for clip, override in overrides.items() if clip in known or clip in by_hand}
    if num_stale := len(overrides) - len(kept):
        print_message(f"{run.decisions}: {num_stale} decisions are on clips that this run no longer has")
    return kept
