"""The command ``review``: files for a reviewer, with rejected clips of every reason and accepted ones to compare."""

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from driveforge.datasets.files.atomic import atomic_file, write_atomic
from driveforge.datasets.progress import track
from driveforge.datasets.scene import CLIP_ID
from driveforge.datasets.video import encode_mp4
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.pipelines.validate.gallery import Card, MeasureBar, select_covering_clips, write_gallery
from driveforge.pipelines.validate.gate import Decision, count_reasons, count_states, read_decisions
from driveforge.validation.calibration import Calibration
from driveforge.validation.guarantee import describe_false_reject_rate
from driveforge.validation.records import Measures
from driveforge.validation.review.drawing import render_tracks, track_clip
from driveforge.validation.verdict import Verdict

# Enough to show every reason, few enough to keep the page at a few megabytes.
MAX_REJECTED = 36
MAX_ACCEPTED = 12
# The names of the clips that the review drew, in its folder.
DRAWN_FILE = ".drawn.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """Files for a reviewer: the ``gallery``, all ``rejections`` as parquet, rejected ``clips`` with drawn tracks."""

    gallery: Path
    rejections: Path
    clips: tuple[Path, ...]


def main(config: Config, args: argparse.Namespace) -> None:
    """Write the review of the gate's decisions."""
    decisions = read_decisions(config.run)
    with pipeline_run(config, "review") as tracker:
        review_files = review(config.run, config.calibration_path, decisions, tracker)
    print_result(review_files.gallery)


def review(run: RunDir, calibration_path: Path, decisions: Sequence[Decision], tracker: Tracker) -> Review:
    """Write the review of a run to ``<run_dir>/review`` and log it, with the counts, to MLflow."""
    calibration = Calibration.load(calibration_path)
    review_files = write_review(run.review, decisions, calibration)
    tracker.log_metrics(count_metrics(decisions))
    tracker.log_artifact(run.verdicts)
    tracker.log_rejections(review_files.rejections, review_files.gallery, review_files.clips)
    return review_files


def count_metrics(decisions: Sequence[Decision]) -> dict[str, float]:
    """Clips by state, and rejected clips by reason."""
    states, reasons = count_states(decisions), count_reasons(decisions)
    by_state = {state: float(states[state]) for state in ("accepted", "rejected", "unmeasured")}
    return {
        "generated": float(len(decisions)),
        **by_state,
        **{f"reason/{c}": float(n) for c, n in sorted(reasons.items())},
    }


def write_review(folder: Path, decisions: Sequence[Decision], calibration: Calibration) -> Review:
    """Write the review, with the limits of ``calibration``, in place of an older one.

    Of the files in the folder, only clips that an older review drew are removed.
    """
    cards = [_card(decision, calibration) for decision in track(_select_for_review(decisions), "Drawing the review")]
    rejected = [card for card in cards if card.state != "accepted"]
    drawn = {f"{card.clip_id}.mp4": card.video for card in rejected}
    previous = _read_drawn(folder)
    # Recorded before they are written, so that the next review knows the clips of an interrupted one.
    write_atomic(folder / DRAWN_FILE, json.dumps(sorted(previous | set(drawn))).encode())
    for name in previous - set(drawn):
        (folder / "clips" / name).unlink(missing_ok=True)
    for name, video in drawn.items():
        write_atomic(folder / "clips" / name, video)
    write_atomic(folder / DRAWN_FILE, json.dumps(sorted(drawn)).encode())
    write_rejections(folder / "rejections.parquet", decisions)
    summary = _summary(decisions, cards, calibration)
    write_gallery(folder / "gallery.html", cards, title="Rejected clips", summary=summary)
    return Review(
        gallery=folder / "gallery.html",
        rejections=folder / "rejections.parquet",
        clips=tuple(folder / "clips" / name for name in drawn),
    )


def _read_drawn(folder: Path) -> set[str]:
    """Names of the clips of an older review; empty if its record cannot be read."""
    try:
        names = json.loads((folder / DRAWN_FILE).read_text(encoding="utf-8"))
        return {name for name in names if CLIP_ID.fullmatch(name.removesuffix(".mp4"))}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return set()


def _summary(decisions: Sequence[Decision], cards: Sequence[Card], calibration: Calibration) -> list[tuple[str, str]]:
    states, on_page = count_states(decisions), Counter(card.state for card in cards)
    rows = [("generated", f"{len(decisions):,}")]
    rows += [(state, _format_count(on_page[state], states[state])) for state in ("accepted", "rejected", "unmeasured")]
    limits = f"{calibration.name}. {calibration.note}" if calibration.note else calibration.name
    return [
        *rows,
        ("false-reject rate of these limits", describe_false_reject_rate(calibration)),
        ("calibrated on", limits),
    ]


def _format_count(rows: int, total: int) -> str:
    """``36 of 5,000`` if the page does not show all."""
    return f"{total:,}" if rows == total else f"{rows:,} of {total:,}"


def write_rejections(path: Path, decisions: Sequence[Decision]) -> None:
    """One row for each clip that was not accepted, with its reasons as codes and as sentences."""
    rows = [
        {
            "clip_id": decision.candidate.clip_id,
            "state": decision.state,
            "reasons": ", ".join(dict.fromkeys(_codes(decision))),
            "in words": " ".join(reason.text for reason in decision.verdict.reasons),
            "edit": decision.candidate.metadata["edit"],
            "seed": str(decision.candidate.metadata["seed"]),
            "calibration": decision.verdict.calibration,
            "tar": decision.candidate.ref.tar.name,
        }
        for decision in decisions
        if decision.state != "accepted"
    ]
    columns = ("clip_id", "state", "reasons", "in words", "edit", "seed", "calibration", "tar")
    table = pa.Table.from_pylist(rows, schema=pa.schema(dict.fromkeys(columns, pa.string())))
    with atomic_file(path) as file:
        pa.parquet.write_table(table, file)


def _codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.verdict.reasons]


def _select_for_review(decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions whose clips are drawn: rejected ones of every reason, accepted ones evenly spaced over the run."""
    reasons = {d.candidate.clip_id: list(dict.fromkeys(_codes(d))) for d in decisions if d.state != "accepted"}
    accepted = [d.candidate.clip_id for d in decisions if d.state == "accepted"]
    step = max(1, math.ceil(len(accepted) / MAX_ACCEPTED))
    chosen = {*select_covering_clips(reasons, MAX_REJECTED), *accepted[::step]}
    return [decision for decision in decisions if decision.candidate.clip_id in chosen]


def _card(decision: Decision, calibration: Calibration) -> Card:
    candidate = decision.candidate
    clip = candidate.load()
    tags = [clip.scene.domain, f"edit: {candidate.metadata['edit']}", f"seed {candidate.metadata['seed']}"]
    if decision.verdict.score is not None:
        tags.append(f"score {decision.verdict.score:.2f}, limit {decision.verdict.limit:.2f}")
    if decision.override:
        tags.append(f"{decision.state} by {decision.override.reviewer}: {decision.override.reason}")
    return Card(
        clip_id=candidate.clip_id,
        state=decision.state,
        video=encode_mp4(render_tracks(clip, track_clip(clip)), clip.scene.frame_rate, crf=27),
        tags=tuple(tags),
        reasons=tuple((reason.code, reason.text) for reason in decision.verdict.reasons),
        bars=measure_bars(candidate.measures, calibration.limits(candidate.measures), decision.verdict),
    )


def measure_bars(measures: Measures, limits: Mapping[str, float], verdict: Verdict) -> tuple[MeasureBar, ...]:
    """Every measure that has a value or a limit."""
    reason_measures = {reason.measure for reason in verdict.reasons if reason.value is not None}
    return tuple(
        MeasureBar(
            name=m.name,
            value=m.value,
            limit=limits.get(m.name),
            unit=m.unit,
            reason=m.reason,
            is_reason=m.name in reason_measures,
        )
        for m in measures.values
        if m.value is not None or m.name in limits
    )
