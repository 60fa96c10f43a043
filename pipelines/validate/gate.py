"""The command ``gate``: a verdict for every committed candidate, from its stored measures and the calibration."""

import argparse
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from rich import get_console
from rich.table import Table

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.generate.candidates import Candidate, iter_candidates
from driveforge.pipelines.review.decisions import read_review_overrides, without_unknown
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import pipeline_run
from driveforge.pipelines.validate.overrides import Override
from driveforge.validation.calibration import Calibration
from driveforge.validation.verdict import Reason, Verdict, judge

# Key in the schema's metadata for the digest of the rows, since parquet does not detect changed bytes.
_DIGEST = b"driveforge.sha256"
REASON = pa.struct(
    {
        "code": pa.string(),
        "measure": pa.string(),
        "value": pa.float64(),
        "limit": pa.float64(),
        "frames": pa.list_(pa.int32()),
        "track": pa.string(),
        "text": pa.string(),
    }
)
SCHEMA = pa.schema(
    {
        "clip_id": pa.string(),
        "state": pa.string(),
        "gate_state": pa.string(),
        "reasons": pa.list_(REASON),
        "calibration": pa.string(),
        "score": pa.float64(),
        "limit": pa.float64(),
        "override_reviewer": pa.string(),
        "override_reason": pa.string(),
        "edit": pa.string(),
        "seed": pa.int64(),
        "model": pa.string(),
        "unit": pa.string(),
        "tar": pa.string(),
    }
)
# Files of older versions lack the score and its limit.
_OLDER_SCHEMA = pa.schema([field for field in SCHEMA if field.name not in ("score", "limit")])


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The decision on one candidate: the gate's verdict, and the reviewer's override if there is one."""

    candidate: Candidate
    verdict: Verdict
    override: Override | None = None

    @property
    def state(self) -> str:
        """ "accepted", "rejected" or "unmeasured"; only accepted clips are exported."""
        return self.override.state if self.override else self.verdict.state


def main(config: Config, args: argparse.Namespace) -> None:
    """Decide on all candidates, write ``<run_dir>/verdicts.parquet`` and the review, and print the counts."""
    from driveforge.pipelines.review.publish import audit_run, publish_review  # which imports this module

    decisions = gate(config.run, config.calibration_path)
    with pipeline_run(config, "gate") as tracker:
        publish_review(config, decisions, tracker)
    console = get_console()
    console.print(summary_table(decisions))
    if estimate := audit_run(config, decisions).describe():
        print_result(estimate)
    print_result(config.run.verdicts)


def gate(run: RunDir, calibration_path: Path) -> list[Decision]:
    """Decide on all candidates of a run, and write the decisions to its verdicts file."""
    calibration = Calibration.load(calibration_path)
    candidates = read_candidates(run)
    known = {candidate.clip_id for candidate in candidates}
    decisions = decide(candidates, calibration, without_unknown(read_review_overrides(run), known, run))
    write_verdicts(run.verdicts, decisions)
    return decisions


def read_candidates(run: RunDir) -> list[Candidate]:
    """All committed candidates of a run. Raises UserError if there is none."""
    candidates = list(iter_candidates(run.candidates))
    if not candidates:
        raise UserError(f"{run.candidates} has no committed clip: run `driveforge generate` first")
    return candidates


def decide(
    candidates: Sequence[Candidate], calibration: Calibration, overrides: Mapping[str, Override]
) -> list[Decision]:
    """A decision on every candidate, in their order; raises UserError if an override names no candidate."""
    known = {candidate.clip_id for candidate in candidates}
    if unknown := sorted(set(overrides) - known):
        raise UserError(f"overrides.json: this run has no candidate {unknown[0]}; correct the clip id or remove it")
    return [
        Decision(candidate=c, verdict=judge(c.measures, calibration), override=overrides.get(c.clip_id))
        for c in candidates
    ]


def write_verdicts(path: Path, decisions: Iterable[Decision]) -> None:
    """Write one row per candidate as parquet, atomically replacing an older file."""
    write_verdict_rows(path, [_row(decision) for decision in decisions])


def write_verdict_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of ``SCHEMA`` with their digest."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    buffer = io.BytesIO()
    pa.parquet.write_table(table.replace_schema_metadata({_DIGEST: _digest(table)}), buffer)
    write_atomic(path, buffer.getvalue())


def read_verdicts(path: Path) -> list[dict[str, Any]]:
    """The rows of a verdicts file as dicts; raises UserError if it is missing or not as the gate wrote it.

    ``score`` and ``limit`` are None in the rows of a file of an older version.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: run `driveforge gate` first")
    try:
        table = pa.parquet.read_table(path)
        digest = _digest(table)  # pyarrow finds invalid text only when it is converted
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({shorten(error, 100)}); run `driveforge gate` again") from error
    is_known = any(table.schema.equals(schema) for schema in (SCHEMA, _OLDER_SCHEMA))
    if not is_known or (table.schema.metadata or {}).get(_DIGEST) != digest:
        raise UserError(f"{path}: damaged or changed since the gate wrote it; run `driveforge gate` again")
    return [{"score": None, "limit": None, **row} for row in table.to_pylist()]


def _digest(table: pa.Table) -> bytes:
    return hashlib.sha256(json.dumps(table.to_pylist()).encode()).hexdigest().encode()


def read_decisions(run: RunDir) -> list[Decision]:
    """The decisions of a run on its present candidates. Raises UserError if there is no verdicts file."""
    rows = {row["clip_id"]: row for row in read_verdicts(run.verdicts)}
    candidates = iter_candidates(run.candidates)
    return [_decision(candidate, rows[candidate.clip_id]) for candidate in candidates if candidate.clip_id in rows]


def _decision(candidate: Candidate, row: Mapping[str, Any]) -> Decision:
    reasons = tuple(Reason(**{**reason, "frames": tuple(reason["frames"])}) for reason in row["reasons"])
    verdict = Verdict(
        clip_id=row["clip_id"],
        state=row["gate_state"],
        reasons=reasons,
        calibration=row["calibration"],
        score=row["score"],
        limit=row["limit"],
    )
    override = None
    if row["override_reviewer"] is not None:
        override = Override(
            clip_id=row["clip_id"], state=row["state"], reviewer=row["override_reviewer"], reason=row["override_reason"]
        )
    return Decision(candidate=candidate, verdict=verdict, override=override)


def _row(decision: Decision) -> dict[str, Any]:
    candidate, verdict, override = decision.candidate, decision.verdict, decision.override
    return {
        "clip_id": candidate.clip_id,
        "state": decision.state,
        "gate_state": verdict.state,
        "reasons": [asdict(reason) for reason in verdict.reasons],
        "calibration": verdict.calibration,
        "score": verdict.score,
        "limit": verdict.limit,
        "override_reviewer": override.reviewer if override else None,
        "override_reason": override.reason if override else None,
        "edit": candidate.metadata["edit"],
        "seed": candidate.metadata["seed"],
        "model": candidate.metadata["model"],
        "unit": candidate.ref.unit,
        "tar": candidate.ref.tar.name,
    }


def count_states(decisions: Iterable[Decision]) -> Counter[str]:
    """The number of clips by state; absent states count as 0."""
    return Counter(decision.state for decision in decisions)


def count_reasons(decisions: Iterable[Decision]) -> Counter[str]:
    """The number of clips that were not accepted by reason code; a clip counts for each of its reasons."""
    return Counter(
        code for d in decisions if d.state != "accepted" for code in {reason.code for reason in d.verdict.reasons}
    )


def summary_table(decisions: Sequence[Decision]) -> Table:
    """The number of clips by state and by reason; a clip may have several reasons."""
    states, reasons = count_states(decisions), count_reasons(decisions)
    table = Table("", "clips", title=f"{len(decisions)} candidates")
    for state in ("accepted", "rejected", "unmeasured"):
        table.add_row(state, str(states[state]))
    for code, count in reasons.most_common():
        table.add_row(f"  {code}", str(count))
    if num_overridden := sum(d.override is not None and d.state != d.verdict.state for d in decisions):
        table.add_row("overridden by review", str(num_overridden))
    return table
