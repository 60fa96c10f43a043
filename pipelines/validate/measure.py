"""The command ``measure``: the measures of every clip under a path as one long parquet table, and as pictures."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from rich import get_console
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
from driveforge.pipelines.inputs.items import list_clips
from driveforge.pipelines.inputs.settings import VideoData, find_kind
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
    out = args.out or config.run.measures
    options, console = config.data.item_options, get_console()
    items = list_clips(args.path, options.version, options.cameras)
    holds_videos = args.path.is_dir() and find_kind(args.path) is VideoData
    if holds_videos and (unread := find_unsupported(args.path)):
        print_result(describe_unsupported(unread))
    pictures = None if args.pictures is None else _make_folder(args.pictures)
    instruments = partial(load_instruments, config.validate)
    instruments()  # fail once if weights or a package are missing, not for every clip
    limits = _load_limits(config.validate.calibration, pictures)
    measure_one = partial(measure_item, with_picture=pictures is not None, calibration=limits, instruments=instruments)
    clip_measures: list[Measures] = []
    names: Counter[str] = Counter()
    num_failed = 0
    for result in track(parallel_map(measure_one, items), "Measuring", total=len(items), console=console):
        error = result.error
        if result.measures is not None:
            clip_measures.append(result.measures)
            if pictures is not None and result.picture is not None:
                names[result.measures.clip_id] += 1
                error = write_picture(pictures, result.measures.clip_id, names[result.measures.clip_id], result.picture)
        if error:
            num_failed += 1
            print_result(f" {error}", prefix=f"{result.name}:", style="red")
    write_measures(out, clip_measures)
    console.print(summary_table(clip_measures))
    print_result(f"{len(clip_measures)} clips measured, {len(items) - len(clip_measures)} could not be read; {out}")
    if pictures is not None:
        print_result(f"{len(items) - num_failed} pictures in {pictures}")
    return 1 if num_failed else 0


def _make_folder(path: Path) -> Path:
    """Make the folder, before any clip is measured."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be used for pictures ({error.strerror}); give --pictures another") from error
    return path


def _load_limits(path: Path | None, pictures: Path | None) -> Calibration | None:
    """Limits that were set explicitly: those of a run need not hold for other footage."""
    return Calibration.load(path) if pictures is not None and path is not None else None


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
