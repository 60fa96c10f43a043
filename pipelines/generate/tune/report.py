"""The report of a search: tables as parquet and CSV, a table and a recommendation for the terminal, contact sheets."""

import io
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.table import Table

from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.console import plain_text
from driveforge.pipelines.generate.tune.choice import (
    difference_p_value,
    is_within_chance,
    pareto_front,
    recommend,
    share_interval,
)
from driveforge.pipelines.generate.tune.grid import Sampler, describe
from driveforge.pipelines.generate.tune.search import JudgedClip, TrialResult
from driveforge.pipelines.plots.contact_sheet import SheetRow, render_contact_sheet, write_png

# Clips on a contact sheet, and the largest width of a frame in pixels.
_SHEET_CLIPS, _FRAME_WIDTH = 12, 320


def write_tables(folder: Path, sampler: Sampler, results: Sequence[TrialResult]) -> list[Path]:
    """Write ``<sampler>.parquet`` and ``.csv``, one row per setting, and ``<sampler>_clips.parquet``, one per clip."""
    settings = pa.Table.from_pylist(list(_setting_rows(results)))
    clips = pa.Table.from_pylist([_clip_row(result, clip) for result in results for clip in result.clips])
    files = []
    for name, table, write in (
        (f"{sampler}.parquet", settings, pa.parquet.write_table),
        (f"{sampler}.csv", settings, pa.csv.write_csv),
        (f"{sampler}_clips.parquet", clips, pa.parquet.write_table),
    ):
        buffer = io.BytesIO()
        write(table, buffer)
        write_atomic(folder / name, buffer.getvalue())
        files.append(folder / name)
    return files


def _setting_rows(results: Sequence[TrialResult]) -> Iterator[dict[str, Any]]:
    front, best = pareto_front(results), recommend(results)
    for result in results:
        settings, states = result.settings, Counter(clip.verdict.state for clip in result.clips)
        low, high = share_interval(result)
        yield {
            "num_steps": settings.num_steps,
            "strength": settings.strength,
            "guidance_scale": settings.guidance_scale,
            "inpaint_steps": settings.inpaint_steps,
            "inpaint_strength": settings.inpaint_strength,
            "sigmas": " ".join(f"{sigma:g}" for sigma in settings.sigmas),
            "clips": len(result.clips),
            **{state: states[state] for state in ("accepted", "rejected", "unmeasured")},
            "accepted_share": result.share,
            "share_low": low,
            "share_high": high,
            "seconds_per_clip": result.seconds,
            "timing": timing_of([result]),
            "on_front": result in front,
            "is_current": result.is_current,
            "is_recommended": result is best,
            "p_against_recommended": difference_p_value(result, best) if best else None,
            "calibration": result.clips[0].verdict.calibration,
        }


def _clip_row(result: TrialResult, clip: JudgedClip) -> dict[str, Any]:
    return {
        "setting": describe(result.settings),
        "clip_id": clip.candidate.clip_id,
        "edit": clip.candidate.metadata["edit"],
        "seed": clip.candidate.metadata["seed"],
        "model": clip.candidate.metadata["model"],
        "state": clip.verdict.state,
        "reasons": " ".join(dict.fromkeys(reason.code for reason in clip.verdict.reasons)),
        "seconds": clip.seconds,
    }


def timing_of(results: Sequence[TrialResult]) -> str:
    """The clocks of the clips; several if a search was resumed on another machine."""
    return " and ".join(sorted({clip.timing for result in results for clip in result.clips}))


def settings_table(results: Sequence[TrialResult]) -> Table:
    """Every setting from the fastest to the slowest."""
    front, best = pareto_front(results), recommend(results)
    clips = results[0].clips
    num_recordings = len({clip.candidate.metadata["provenance"]["recording"] for clip in clips})
    given = f"{len(results)} settings, {len(clips)} clips of {num_recordings} recordings each"
    title = f"{given}; seconds are {timing_of(results)}"
    table = Table("setting", "accepted", "95 % interval", "s per clip", "", title=title)
    for result in sorted(results, key=lambda result: result.seconds):
        low, high = share_interval(result)
        notes = {"recommended": result is best, "on the front": result in front, "current": result.is_current}
        table.add_row(
            plain_text(describe(result.settings)),
            f"{sum(result.accepted)} of {len(result.accepted)}",
            f"{100 * low:.0f} to {100 * high:.0f} %",
            f"{result.seconds:.3g}",
            ", ".join(note for note, holds in notes.items() if holds),
        )
    return table


def explain_choice(results: Sequence[TrialResult], best: TrialResult) -> Iterator[str]:
    """What the clips tell about the recommended setting, the current one, and the faster ones on the front."""
    current = next(result for result in results if result.is_current)
    if best is current:
        yield "it is the current setting"
    else:
        p_value = difference_p_value(best, current)
        chance = "within chance" if is_within_chance(best, current) else "more than chance"
        yield (
            f"the current setting accepts {sum(current.accepted)} of {len(current.accepted)} at "
            f"{current.seconds:.3g} s per clip; the difference is {chance} (p = {p_value:.2g})"
        )
    faster = [result for result in pareto_front(results) if result is not best and is_within_chance(result, best)]
    for result in faster:
        yield (
            f"faster, and within chance of it: {describe(result.settings)}, {sum(result.accepted)} of "
            f"{len(result.accepted)} at {result.seconds:.3g} s per clip"
        )
    if faster or (best is not current and is_within_chance(best, current)):
        yield f"more clips tell settings apart: tune.num_clips={4 * len(best.clips)}; finished clips are kept"


def write_sheets(folder: Path, results: Sequence[TrialResult]) -> list[Path]:
    """Write a contact sheet of each setting on the front, with the same scenes; replaces all sheets in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    paths = []
    for result in pareto_front(results):
        rows = [_sheet_row(clip) for clip in result.clips[:_SHEET_CLIPS]]
        settings = result.settings
        name = f"steps-{settings.num_steps}-strength-{settings.strength:g}-guidance-{settings.guidance_scale:g}"
        paths.append(folder / f"{name}{'-sigmas' if settings.sigmas else ''}.png")
        write_png(paths[-1], render_contact_sheet(rows, scale=1, columns=2))
    return paths


def _sheet_row(clip: JudgedClip) -> SheetRow:
    frames = clip.candidate.load().frames[0]
    stride = -(-frames.shape[2] // _FRAME_WIDTH)
    reasons = ", ".join(dict.fromkeys(reason.code for reason in clip.verdict.reasons))
    verdict = f"{clip.verdict.state}{f': {reasons}' if reasons else ''}"
    scene_id = clip.candidate.clip_id.rpartition("-")[0]  # it ends with the edit
    return SheetRow(caption=f"{scene_id}: {verdict}", frames=frames[:, ::stride, ::stride], state=clip.verdict.state)
