"""The command ``measure``: the measures of every clip under a path as one long parquet table, and as pictures."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from rich import get_console
from rich.console import Console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import WriteError, atomic_file, write_atomic
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Clip
from driveforge.datasets.source import Item
from driveforge.datasets.video_files import describe_unsupported, find_unsupported
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.inputs.settings import VideoData, select_kind
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.validation.calibration import Calibration
from driveforge.validation.instruments import Instruments
from driveforge.validation.measures import MeasuredClip, measure_clip
from driveforge.validation.records import Measure, Measures

SCHEMA = pa.schema(
    {
        "clip_id": pa.string(),
        "view": pa.string(),
        "measure": pa.string(),
        "family": pa.string(),
        "unit": pa.string(),
        "value": pa.float64(),
        "state": pa.string(),
        "reason": pa.string(),
        "frames": pa.list_(pa.int32()),
        "track": pa.string(),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureResult:
    """One item of a set: its measures, or the ``error`` if it could not be measured.

    ``picture`` is a PNG if one was requested; if it could not be drawn, it is None and there is an ``error``.
    """

    name: str
    measures: Measures | None = None
    picture: bytes | None = None
    error: str = ""


def main(config: Config, args: argparse.Namespace) -> int:
    """Measure everything under ``args.path``; returns 1 if a clip could not be read or drawn."""
    out, console = args.out or config.run.measures, get_console()
    pictures = None if args.pictures is None else make_folder(args.pictures, "--pictures")
    # Only limits that were set explicitly are drawn: those of a run need not hold for other footage.
    path = config.validate.calibration
    limits = Calibration.load(path) if pictures is not None and path is not None else None
    results = measure_items(args.path, config, calibration=limits, pictures=pictures, console=console)
    clip_measures = [result.measures for result in results if result.measures is not None]
    write_measures(out, clip_measures)
    console.print(summary_table(clip_measures))
    print_result(f"{len(clip_measures)} clips measured, {len(results) - len(clip_measures)} could not be read; {out}")
    num_failed = sum(bool(result.error) for result in results)
    if pictures is not None:
        print_result(f"{len(results) - num_failed} pictures in {pictures}")
    return 1 if num_failed else 0


def make_folder(path: Path, option: str) -> Path:
    """Make the output folder of ``option``, before any clip is measured."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be used for {option} ({error.strerror}); give {option} another") from error
    return path


def measure_items(
    path: Path, config: Config, *, calibration: Calibration | None, pictures: Path | None, console: Console
) -> list[MeasureResult]:
    """Measure every clip under ``path``, one process per core, with progress and errors on ``console``.

    Writes pictures with the limits of ``calibration`` to the folder ``pictures``; results do not keep them. Raises
    UserError if there is no clip, an instrument is missing, or ``calibration`` is for another tracker.
    """
    kind = select_kind(path, config.data)
    items = kind.list_items(path, config.data.item_options)
    if not items:
        raise UserError(f"{path}: holds no clip")
    if kind is VideoData and path.is_dir() and (unread := find_unsupported(path)):
        print_result(describe_unsupported(unread), console=console)
    load = partial(load_instruments, config.validate)
    tracker = load().tracker.name  # fail once if weights or a package are missing, not for every clip
    if calibration is not None and tracker != calibration.tracker:
        raise UserError(f"{calibration.name}: limits for clips tracked by {calibration.tracker}, not by {tracker}")
    measure_one = partial(measure_item, with_picture=pictures is not None, calibration=calibration, instruments=load)
    names: Counter[str] = Counter()
    results = []
    for result in track(parallel_map(measure_one, items), "Measuring", total=len(items), console=console):
        error = result.error
        if pictures is not None and result.measures is not None and result.picture is not None:
            names[result.measures.clip_id] += 1
            error = write_picture(pictures, result.measures.clip_id, names[result.measures.clip_id], result.picture)
        if error:
            print_result(f" {error}", prefix=f"{result.name}:", style="red", console=console)
        results.append(replace(result, picture=None, error=error))
    return results


def measure_item(
    item: Item,
    with_picture: bool = False,
    calibration: Calibration | None = None,
    instruments: InstrumentsLoader = Instruments,
) -> MeasureResult:
    """Measure one item. A clip that cannot be read or drawn gives an error in its result and does not stop others."""
    measures = None
    try:
        clip = item.load()
        measured_clip = measure_clip(clip, instruments())
        measures = measured_clip.measures
        picture = _plot(clip, measured_clip, calibration) if with_picture else None
        return MeasureResult(name=item.name, measures=measures, picture=picture)
    except UserError as error:
        return MeasureResult(name=item.name, measures=measures, error=str(error))
    except Exception as error:  # decoders raise various errors, and one bad file must not end the command
        return MeasureResult(name=item.name, measures=measures, error=f"{type(error).__name__}: {error}")


def _plot(clip: Clip, measured_clip: MeasuredClip, calibration: Calibration | None) -> bytes:
    from driveforge.pipelines.plots.measured_clip import plot_measured_clip

    return plot_measured_clip(clip, measured_clip, calibration)


def write_picture(folder: Path, clip_id: str, number: int, picture: bytes) -> str:
    """Write ``<clip_id>.png``; further clips with that id (for example other cameras) get ``<clip_id>-2.png`` etc.

    Returns an error message, or "" on success.
    """
    path = folder / f"{clip_id}{'' if number == 1 else f'-{number}'}.png"
    try:
        write_atomic(path, picture)
    except WriteError as error:
        return str(error)
    return ""


def write_measures(path: Path, clip_measures: Iterable[Measures]) -> None:
    """One row for each measure of each clip; ``value`` is null if it could not be measured.

    ``view`` is "" for the reference camera, else the camera's name.
    """
    rows = [_to_row(measures.clip_id, m) for measures in clip_measures for m in measures.values]
    with atomic_file(path) as file:
        pa.parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file)


def _to_row(clip_id: str, measure: Measure) -> dict[str, Any]:
    view, _, name = measure.name.rpartition("/")
    return {"clip_id": clip_id, "view": view, "measure": name, **asdict(measure)}


def summary_table(clip_measures: Iterable[Measures]) -> Table:
    """Median and 95 % quantile of every measure over the clips, and the number of clips with a value."""
    values: dict[tuple[str, str, str], list[float | None]] = defaultdict(list)
    for measures in clip_measures:
        for m in measures.values:
            values[m.family, m.name, m.unit].append(m.value)
    table = Table("family", "measure", "unit", "clips", "median", "95 %")
    for (family, name, unit), column in sorted(values.items()):
        taken = [value for value in column if value is not None]
        points = [f"{np.quantile(taken, q):.3g}" for q in (0.5, 0.95)] if taken else ["", ""]
        table.add_row(family, name, unit, f"{len(taken)}/{len(column)}", *points)
    return table
