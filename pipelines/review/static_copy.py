"""A static copy of the page: a folder that opens from a disk, in MLflow's artifact viewer, or from any web server."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder
from driveforge.datasets.files.replaced_folder import replaced_folder
from driveforge.datasets.progress import track
from driveforge.pipelines.generate.candidates import Candidate
from driveforge.pipelines.inputs.instruments import InstrumentsLoader
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.review.clip_table import ClipTable, describe_table
from driveforge.pipelines.review.media import (
    THUMBNAIL,
    ClipMedia,
    draw_overlay_file,
    draw_sheet_file,
    list_videos,
)
from driveforge.pipelines.review.page_files import PAGE_FILES, data_script, dump, page_html, read_page_file
from driveforge.pipelines.review.session import ReviewSession
from driveforge.pipelines.validate.gate import Decision
from driveforge.validation.calibration import Calibration
from driveforge.validation.instruments import Instruments

# Processes take seconds to start.
_MIN_PARALLEL = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyContents:
    """What a copy holds besides the table of all clips and their thumbnails.

    Videos, overlays and measures are of at most ``max_clips``: rejected clips of every reason and accepted ones.
    ``sheets`` are the measured sheets, ``sources`` the source clips. ``mlflow_run`` and ``mlflow_folder`` say where
    the copy is logged.
    """

    max_clips: int | None = None
    sheets: bool = False
    sources: bool = False
    mlflow_run: str = ""
    mlflow_folder: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnFiles:
    """The files of one clip that are drawn: ``overlays`` as JSON by video, and the measured ``sheet`` as PNG."""

    overlays: Mapping[str, bytes]
    sheet: bytes | None


def write_copy(
    folder: Path, table: ClipTable, session: ReviewSession, media: ClipMedia, *, title: str, contents: CopyContents
) -> int:
    """Write the copy in place of an older one; returns the number of clips whose source clip is missing.

    Raises UserError if ``folder`` holds anything else.
    """
    chosen = choose_clips(table.decisions, contents.max_clips)
    num_missing = 0
    with replaced_folder(folder, "review") as scratch:
        page = page_html(title, is_served=False, mlflow_run=contents.mlflow_run, mlflow_folder=contents.mlflow_folder)
        (scratch / "index.html").write_text(page, encoding="utf-8")
        for name in PAGE_FILES:
            (scratch / name).write_text(read_page_file(name), encoding="utf-8")
        rows = [{**row, "copied": row["id"] in chosen} for row in table.rows]
        offers = {"served": False, "sheets": contents.sheets, "sources": contents.sources}
        facts = {"title": title, "reviewer": "", "sample": session.sample, "review": session.report()}
        _write_script(scratch, "table", dump({**describe_table(table), "rows": rows, **offers, **facts}))
        for clip_id in table.decisions:
            _write(scratch / "media" / clip_id / THUMBNAIL, media.read_member(clip_id, THUMBNAIL))
        candidates = [table.decisions[clip_id].candidate for clip_id in table.decisions if clip_id in chosen]
        drawn = draw_files(candidates, media.instruments, table.calibration, with_sheets=contents.sheets)
        for candidate, files in zip(track(candidates, "Copying the review"), drawn, strict=True):
            num_missing += not _write_clip(scratch, candidate, files, media, contents)
        write_rejections(scratch / "rejections.parquet", list(table.decisions.values()))
    return num_missing


def draw_files(
    candidates: Sequence[Candidate], instruments: InstrumentsLoader, calibration: Calibration, *, with_sheets: bool
) -> Iterator[DrawnFiles]:
    """The files of clips that take long, in the order of the clips, from one process per core if there are many."""
    initargs = (instruments, calibration, with_sheets)
    if len(candidates) >= _MIN_PARALLEL:
        return parallel_map(_draw_files, candidates, _init_worker, initargs)
    _init_worker(*initargs)
    return map(_draw_files, candidates)


_worker: tuple[Instruments, Calibration, bool]


def _init_worker(instruments: InstrumentsLoader, calibration: Calibration, with_sheets: bool) -> None:
    global _worker
    _worker = instruments(), calibration, with_sheets


def _draw_files(candidate: Candidate) -> DrawnFiles:
    instruments, calibration, with_sheets = _worker
    clip = candidate.load()
    return DrawnFiles(
        overlays={name: draw_overlay_file(clip, name, instruments) for name in list_videos(candidate)},
        sheet=draw_sheet_file(candidate, instruments, calibration) if with_sheets else None,
    )


def _write_clip(
    scratch: Path, candidate: Candidate, files: DrawnFiles, media: ClipMedia, contents: CopyContents
) -> bool:
    """Write the files of one clip; False if its source clip was wanted and is missing."""
    clip_id, has_source = candidate.clip_id, True
    target = scratch / "media" / clip_id
    _write_script(scratch, f"clips/{clip_id}", media.describe(clip_id))
    for name, overlay in files.overlays.items():
        _write_script(scratch, f"overlays/{clip_id}/{name}", overlay)
        _write(target / name, media.read_member(clip_id, name))
        if contents.sources and has_source:
            try:
                _write(target / "source" / name, media.source_video(clip_id, name))
            except UserError:  # the data may have moved, or may lack a camera
                has_source = False
    if files.sheet is not None:
        _write(target / "sheet.png", files.sheet)
    return has_source


def _write_script(scratch: Path, name: str, content: bytes) -> None:
    _write(scratch / "data" / f"{name}.mjs", data_script(name, content))


def _write(path: Path, content: bytes) -> None:
    make_folder(path.parent)
    path.write_bytes(content)


def choose_clips(decisions: Mapping[str, Decision], limit: int | None) -> set[str]:
    """All clips, or ``limit``: up to a quarter accepted ones, evenly spaced, and others that cover every reason."""
    if limit is None or len(decisions) <= limit:
        return set(decisions)
    accepted = [clip_id for clip_id, decision in decisions.items() if decision.state == "accepted"]
    reasons = {
        clip_id: [reason.code for reason in decision.verdict.reasons]
        for clip_id, decision in decisions.items()
        if decision.state != "accepted"
    }
    num_accepted = min(len(accepted), max(limit // 4, limit - len(reasons)))
    spread = [accepted[number * len(accepted) // num_accepted] for number in range(num_accepted)]
    return {*select_covering_clips(reasons, limit - num_accepted), *spread}


def select_covering_clips(reasons: Mapping[str, Sequence[str]], limit: int) -> list[str]:
    """At most ``limit`` clip ids that cover every reason: one clip per reason in turn, rare reasons first.

    ``reasons`` has the reason codes of each clip id. The result keeps the order of the clips.
    """
    by_code: dict[str, list[str]] = {}
    for clip_id, codes in reasons.items():
        for code in codes or ("",):
            by_code.setdefault(code, []).append(clip_id)
    by_rarity = sorted(by_code.items(), key=lambda item: (len(item[1]), item[0]))
    queues = [list(reversed(clips)) for _, clips in by_rarity]
    chosen: set[str] = set()
    while len(chosen) < limit and any(queues):
        for queue in queues:
            while queue and queue[-1] in chosen:
                queue.pop()
            if queue and len(chosen) < limit:
                chosen.add(queue.pop())
    return [clip_id for clip_id in reasons if clip_id in chosen]


def write_rejections(path: Path, decisions: Sequence[Decision]) -> None:
    """One row for each clip that was not accepted, with its reasons as codes and as sentences."""
    rows = [_rejection(decision) for decision in decisions if decision.state != "accepted"]
    columns = ("clip_id", "state", "reasons", "in words", "edit", "seed", "calibration", "tar")
    table = pa.Table.from_pylist(rows, schema=pa.schema(dict.fromkeys(columns, pa.string())))
    pa.parquet.write_table(table, path)


def _rejection(decision: Decision) -> dict[str, Any]:
    return {
        "clip_id": decision.candidate.clip_id,
        "state": decision.state,
        "reasons": ", ".join(dict.fromkeys(reason.code for reason in decision.verdict.reasons)),
        "in words": " ".join(reason.text for reason in decision.verdict.reasons),
        "edit": decision.candidate.metadata["edit"],
        "seed": str(decision.candidate.metadata["seed"]),
        "calibration": decision.verdict.calibration,
        "tar": decision.candidate.ref.tar.name,
    }
