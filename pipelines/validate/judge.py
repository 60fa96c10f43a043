"""The command ``judge``: a verdict on every clip under a path, made by any generator, from a given calibration."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from rich import get_console
from rich.console import Console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import atomic_file
from driveforge.datasets.scene import Clip
from driveforge.datasets.source import Item
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text, print_result
from driveforge.pipelines.inputs.items import list_clips
from driveforge.pipelines.validate.gate import REASON
from driveforge.pipelines.validate.measure import (
    MeasureResult,
    make_folder,
    measure_item,
    measure_items,
    write_measures,
)
from driveforge.validation.calibration import Calibration
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS, Instruments
from driveforge.validation.measures import measure
from driveforge.validation.records import NO_INTRINSICS, NO_POSE, Measures
from driveforge.validation.review.drawing import short_id
from driveforge.validation.verdict import Reason, Verdict, judge

SCHEMA = pa.schema(
    {
        "clip_id": pa.string(),
        "state": pa.string(),
        "score": pa.float64(),
        "limit": pa.float64(),
        "reasons": pa.list_(REASON),
        "calibration": pa.string(),
    }
)
_STYLES = {"accepted": "green", "rejected": "red", "unmeasured": "yellow"}


def main(config: Config, args: argparse.Namespace) -> int:
    """Judge everything under ``args.path``; returns 1 unless every clip is accepted and every picture written."""
    path = config.validate.calibration
    if path is None:
        raise UserError("give validate.calibration=FILE; `driveforge calibrate` writes one from known-good clips")
    calibration = Calibration.load(path)
    out = make_folder(args.out, "--out") if args.out else None
    pictures = make_folder(args.pictures, "--pictures") if args.pictures else None
    # With --json, standard output holds nothing else.
    console = Console(stderr=True) if args.json else get_console()
    results = measure_items(args.path, config, calibration=calibration, pictures=pictures, console=console)
    verdicts = [_judge_result(result, calibration) for result in results]
    if out is not None:
        write_verdicts(out / "verdicts.parquet", verdicts)
        write_measures(out / "measures.parquet", [result.measures for result in results if result.measures])
    if args.json:
        sys.stdout.write(json.dumps([to_json(verdict) for verdict in verdicts], indent=1) + "\n")
    else:
        console.print(verdict_table(verdicts))
    if num_unchecked := sum(result.measures is not None and _has_no_command(result.measures) for result in results):
        print_result(
            f"{num_unchecked} without ego pose or intrinsics: motion not checked, only pixels", console=console
        )
    print_result(_summary(verdicts, calibration), console=console)
    for folder in filter(None, (out, pictures)):
        print_result(folder, console=console)
    is_good = all(verdict.state == "accepted" for verdict in verdicts) and not any(result.error for result in results)
    return 0 if is_good else 1


def judge_clips(
    clips: Path | str | Iterable[Clip | Item], calibration: Calibration, instruments: Instruments = DEFAULT_INSTRUMENTS
) -> list[Verdict]:
    """Measure and judge clips of any origin one by one: loaded ones, items of ``list_clips``, or all under a path.

    A clip that cannot be read is unmeasured, for the reason UNREADABLE. Raises UserError if there is no such path, or
    if the limits are for another tracker than that of ``instruments``.
    """
    listed = list_clips(clips) if isinstance(clips, Path | str) else clips
    return [_judge_clip(clip, calibration, instruments) for clip in listed]


def _judge_clip(clip: Clip | Item, calibration: Calibration, instruments: Instruments) -> Verdict:
    if isinstance(clip, Clip):
        return judge(measure(clip, instruments), calibration)
    return _judge_result(measure_item(clip, instruments=lambda: instruments), calibration)


def _judge_result(result: MeasureResult, calibration: Calibration) -> Verdict:
    if result.measures is not None:
        return judge(result.measures, calibration)
    # File names need not be valid UTF-8.
    name, error = (text.encode(errors="replace").decode() for text in (result.name, result.error))
    text = f"the clip could not be measured: {error}"
    reason = Reason(code="UNREADABLE", measure="", value=None, limit=None, frames=(), track="", text=text)
    return Verdict(clip_id=name, state="unmeasured", reasons=(reason,), calibration=calibration.name)


def _has_no_command(measures: Measures) -> bool:
    """Whether the clip has no command that its motion could violate."""
    return any(m.name == "pose_yaw" and m.reason in (NO_POSE, NO_INTRINSICS) for m in measures.values)


def to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the command prints it: ``clip_id``, ``state``, ``score``, ``limit`` and ``reasons``."""
    record = asdict(verdict)
    return {key: record[key] for key in ("clip_id", "state", "score", "limit", "reasons")}


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """One row for each clip."""
    with atomic_file(path) as file:
        pa.parquet.write_table(pa.Table.from_pylist([asdict(verdict) for verdict in verdicts], schema=SCHEMA), file)


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """Each clip with its verdict, its score against its limit, and a sentence for each reason."""
    table = Table("clip", "verdict", "score / limit", "reasons", show_lines=True)
    table.columns[0].overflow = table.columns[3].overflow = "fold"
    for verdict in verdicts:
        sentences = "\n".join(_sentences(verdict.reasons))
        row = (plain_text(verdict.clip_id), plain_text(verdict.state), _format_score(verdict), plain_text(sentences))
        row[1].stylize(_STYLES[verdict.state])
        table.add_row(*row)
    return table


def _sentences(reasons: Sequence[Reason]) -> Iterator[str]:
    for reason in reasons:
        text = reason.text.replace(reason.track, short_id(reason.track)) if reason.track else reason.text
        yield f"{text[:1].upper()}{text[1:]}."


def _format_score(verdict: Verdict) -> str:
    return " / ".join("none" if number is None else f"{number:.2f}" for number in (verdict.score, verdict.limit))


def _summary(verdicts: Sequence[Verdict], calibration: Calibration) -> str:
    counts: Counter[str] = Counter(verdict.state for verdict in verdicts)
    states = ", ".join(f"{counts[state]} {state}" for state in _STYLES)
    return f"{states}; limits: {calibration.name}. {calibration.note}".strip()
