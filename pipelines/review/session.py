"""What the reviewers of a run have done so far, shared by all open pages."""

import time
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.pipelines.review.audit import audit_sample, blind_verdicts, estimate_audit
from driveforge.pipelines.review.clip_table import ClipTable
from driveforge.pipelines.review.decisions import (
    DecisionLog,
    ReviewDecision,
    append_decision,
    now_utc,
    overrides_of,
    read_decision_log,
)
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.overrides import Override, read_overrides
from driveforge.pipelines.validate.settings import ValidateSettings

# A page asks every two seconds; a reviewer who is silent for longer has closed it.
PRESENCE_SECONDS = 10.0


class ReviewSession:
    """Reads and adds decisions, also those of other servers of the same run, and knows who looks at which clip."""

    def __init__(self, run: RunDir, table: ClipTable, settings: ValidateSettings) -> None:
        self._run, self._table = run, table
        self.sample = audit_sample(table.states, settings.audit_share, settings.audit_seed)
        self._lock = Lock()
        self._log, self._size = DecisionLog(), -1
        self._present: dict[str, tuple[str, float]] = {}

    def read(self) -> DecisionLog:
        """All decisions; reads the file again only if it has changed."""
        with self._lock:
            size = _size(self._run.decisions)
            if size != self._size:
                self._log, self._size = read_decision_log(self._run.decisions), size
            return self._log

    def decide(self, *, clip: str, reviewer: str, verdict: str, note: str, blind: bool) -> None:
        """Record a decision durably. Raises UserError if the run has no such clip or a value is wrong."""
        if clip not in self._table.decisions:
            raise UserError("this run has no such clip")
        if verdict not in ("accept", "reject", "unsure", "cleared"):
            raise UserError("verdict must be accept, reject, unsure or cleared")
        is_blind = blind and clip in self.sample
        append_decision(
            self._run.decisions,
            ReviewDecision(clip=clip, reviewer=reviewer, verdict=verdict, note=note, time=now_utc(), blind=is_blind),  # type: ignore[arg-type]
        )

    def report(self, since: int = 0, reviewer: str = "", clip: str = "") -> dict[str, Any]:
        """Decisions from number ``since`` on, who is looking at what, and the audit's estimates, as JSON values."""
        log, now = self.read(), time.monotonic()
        if reviewer:
            self._present[reviewer] = (clip, now)
        present = {name: at for name, (at, seen) in list(self._present.items()) if now - seen < PRESENCE_SECONDS}
        return {
            "total": len(log.decisions),
            "decisions": [asdict(decision) for decision in log.decisions[since:]],
            "torn": log.torn,
            "present": {name: at for name, at in present.items() if name != reviewer},
            "audit": self.describe_audit(log),
            "overrides": {clip_id: asdict(override) for clip_id, override in self._by_hand().items()},
            "pending": len(self.list_pending(log)),
        }

    def describe_audit(self, log: DecisionLog) -> dict[str, Any]:
        return asdict(estimate_audit(self._table.states, self.sample, blind_verdicts(log.decisions)))

    def list_pending(self, log: DecisionLog) -> list[str]:
        """The clips whose verdict changes when the gate runs again."""
        wanted = overrides_of(log.decisions) | self._by_hand()
        return [
            clip
            for clip, decision in self._table.decisions.items()
            if _key(wanted.get(clip)) != _key(decision.override)
        ]

    def _by_hand(self) -> dict[str, Override]:
        return read_overrides(self._run.overrides)


def _key(override: Override | None) -> tuple[str, str, str] | None:
    return None if override is None else (override.state, override.reviewer, override.reason)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
