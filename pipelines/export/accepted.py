"""The accepted clips of a run, each with its verdict, and the statistics of all verdicts."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import track
from driveforge.datasets.webdataset_shards.data_card import Provenance
from driveforge.datasets.webdataset_shards.packing import AcceptedSample
from driveforge.datasets.webdataset_shards.tar_samples import Span
from driveforge.pipelines.console import print_message
from driveforge.pipelines.export.leaks import find_near_duplicates, is_evaluation_split, require_no_evaluation_split
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.source_frames import read_source_frames
from driveforge.pipelines.review.decisions import read_decision_log, read_review_overrides
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts
from driveforge.pipelines.validate.overrides import read_overrides


def require_reviewed(run: RunDir) -> None:
    """Raise UserError if a reviewer's decision has not been applied by `driveforge gate` yet, or was withdrawn since.

    Decisions of the review page on clips that the run no longer has do not matter.
    """
    applied = {row["clip_id"]: _override(row) for row in read_verdicts(run.verdicts)}
    wanted = read_review_overrides(run)
    reviewed = {decision.clip for decision in read_decision_log(run.decisions).decisions} & applied.keys()
    for clip_id in sorted(reviewed | read_overrides(run.overrides).keys()):
        override = wanted.get(clip_id)
        if applied.get(clip_id) != (override and (override.state, override.reviewer, override.reason)):
            raise UserError(
                f"{run.root}: the reviewers' decision on {clip_id} is not among the verdicts yet; "
                "run `driveforge gate` first"
            )


def _override(row: Mapping[str, Any]) -> tuple[str, str, str] | None:
    if row["override_reviewer"] is None:
        return None
    return row["state"], row["override_reviewer"], row["override_reason"]


def accepted_samples(
    rows: Sequence[Mapping[str, Any]], candidates: Path, *, allow_evaluation_split: bool
) -> list[AcceptedSample]:
    """The accepted samples of the verdict ``rows``, each with its verdict and what it may leak as metadata.

    Of several accepted attempts at one request, only the best is among them.

    Checks every byte of the tars first; raises UserError if a tar was changed since its verdict, and if a clip comes
    from an evaluation split, unless that is allowed.
    """
    recorded = read_source_frames(candidates)
    attempts = []
    for sample in track(list(_with_verdicts(rows, candidates)), "Checking accepted clips"):
        record = sample.json_member()
        leaks = {
            "near_duplicates": asdict(find_near_duplicates(record["metadata"], recorded, candidates)),
            "from_evaluation_split": is_evaluation_split(record["split"]),
        }
        attempts.append(
            _Attempt(
                request=record["metadata"].get("attempt_of") or sample.key,
                quality=_quality(sample.metadata["verdict"]),
                split=record["split"],
                sample=replace(sample, metadata={**sample.metadata, **leaks}),
            )
        )
    best = _best_attempts(attempts)
    require_no_evaluation_split({one.sample.key: one.split for one in best}, allowed=allow_evaluation_split)
    return [one.sample for one in best]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """An accepted sample, and the clip id of the first attempt at its ``request``. A lower ``quality`` is better."""

    request: str
    quality: tuple[bool, float]
    split: str
    sample: AcceptedSample


def _best_attempts(attempts: Sequence[_Attempt]) -> list[_Attempt]:
    """The best attempt at each request; prints how many others there are."""
    best: dict[str, _Attempt] = {}
    for one in attempts:
        if one.request not in best or one.quality < best[one.request].quality:
            best[one.request] = one
    # A clip that was accepted twice stays twice, which the formats refuse.
    kept = [one for one in attempts if one.sample.key == best[one.request].sample.key]
    if num_others := len(attempts) - len(kept):
        print_message(f"not exported: {num_others} accepted clips, of whose requests a better attempt is exported")
    return kept


def _quality(verdict: Mapping[str, Any]) -> tuple[bool, float]:
    """Clips that a reviewer accepted first, then by the score of the gate."""
    return verdict["override_reviewer"] == "", verdict["score"] if verdict["has_score"] else math.inf


def _with_verdicts(rows: Sequence[Mapping[str, Any]], candidates: Path) -> Iterator[AcceptedSample]:
    log = CommitLog(candidates)

    @cache
    def spans(unit: str, tar: str) -> Mapping[str, Mapping[str, Span]]:
        marker = log.read_marker(unit)
        return log.read_verified(marker) if marker.tar == tar else {}

    for row in rows:
        if row["clip_id"] not in spans(row["unit"], row["tar"]):
            raise UserError(f"{candidates / row['tar']} no longer has {row['clip_id']}: run `driveforge gate` again")
        if row["state"] != "accepted":
            continue
        yield AcceptedSample(
            tar=candidates / row["tar"],
            key=row["clip_id"],
            members=spans(row["unit"], row["tar"])[row["clip_id"]],
            metadata={"verdict": _verdict(row)},
        )


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict as metadata, with the same types in every sample: loaders infer them from the first few."""
    texts = ("state", "gate_state", "calibration", "override_reviewer", "override_reason")
    has_score = all(row[key] is not None and math.isfinite(row[key]) for key in ("score", "limit"))
    return {
        **{key: row[key] or "" for key in texts},
        "reasons": ", ".join(reason["code"] for reason in row["reasons"]),
        "has_score": has_score,
        "score": row["score"] if has_score else 0.0,
        "limit": row["limit"] if has_score else 0.0,
    }


def provenance(rows: Sequence[Mapping[str, Any]]) -> Provenance:
    """The statistics of all verdicts for the data card; a clip rejected for several reasons counts for each."""
    rejected = [row for row in rows if row["state"] != "accepted"]
    codes = (sorted({reason["code"] for reason in row["reasons"]}) or [row["state"]] for row in rejected)
    return Provenance(
        model=", ".join(sorted({row["model"] for row in rows})),
        calibration=", ".join(sorted({row["calibration"] for row in rows})),
        num_generated=len(rows),
        rejected=Counter(code for row_codes in codes for code in row_codes),
    )
