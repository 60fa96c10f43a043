"""Measure: the numbers of every clip under a path, from any origin, into one long parquet table."""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from rich import get_console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from datasets.errors import UserError
from pipelines.config import Config, Data, NuScenesData
from pipelines.footage import Item, list_footage
from pipelines.parallel import on_all_cores
from validation.measures import measure
from validation.records import Measure, Measures

SCHEMA = pa.schema(
    {
        "clip_id": pa.string(),
        "view": pa.string(),
        "measure": pa.string(),
        "family": pa.string(),
        "unit": pa.string(),
        "value": pa.float64(),
        "state": pa.string(),
        "why": pa.string(),
        "frames": pa.list_(pa.int32()),
        "track": pa.string(),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One item of a set: its measures, or the ``error`` that kept it from having any."""

    name: str
    measures: Measures | None = None
    error: str = ""


def main(config: Config, args: argparse.Namespace) -> int:
    """Measure everything under ``args.path``; status 1 where a clip could not be read."""
    out = args.out or config.run_dir / "measures.parquet"
    items, console = list_footage(args.path, *_chosen_tables(config.data)), get_console()
    sets: list[Measures] = []
    bad = 0
    for result in track(on_all_cores(measure_item, items), "Measuring", total=len(items), console=console):
        if result.measures is None:
            bad += 1
            console.print(f"[red]{escape(result.name)}:[/red] {escape(result.error)}", soft_wrap=True)
        else:
            sets.append(result.measures)
    write_measures(out, sets)
    console.print(summary_table(sets))
    console.print(f"{len(sets)} clips measured, {bad} could not be read; {out}", soft_wrap=True)
    return 1 if bad else 0


def _chosen_tables(data: Data) -> tuple[str, tuple[str, ...]]:
    """Version and cameras that were asked for with ``data=nuscenes``; without it whatever version is there."""
    return (data.version, data.cameras) if isinstance(data, NuScenesData) else ("", ("CAM_FRONT",))


def measure_item(item: Item) -> Measured:
    """A clip that cannot be read is a result too: it must not spoil the others."""
    try:
        return Measured(name=item.name, measures=measure(item.load()))
    except UserError as error:
        return Measured(name=item.name, error=str(error))
    except Exception as error:  # decoders raise what they like; one bad file must not end a night's work
        return Measured(name=item.name, error=f"{type(error).__name__}: {error}")


def write_measures(path: Path, sets: Iterable[Measures]) -> None:
    """One row for each measure of each clip; ``value`` is null where the measure could not be taken.

    ``view`` is "" for the reference camera, else the camera's name.
    """
    rows = [_row(measures.clip_id, m) for measures in sets for m in measures.values]
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def _row(clip_id: str, measure: Measure) -> dict[str, Any]:
    view, _, name = measure.name.rpartition("/")
    return {"clip_id": clip_id, "view": view, "measure": name, **asdict(measure)}


def summary_table(sets: Iterable[Measures]) -> Table:
    """Median and 95 % point of every measure over the clips, and how many clips it could be taken on."""
    values: dict[tuple[str, str, str], list[float | None]] = defaultdict(list)
    for measures in sets:
        for m in measures.values:
            values[m.family, m.name, m.unit].append(m.value)
    table = Table("family", "measure", "unit", "clips", "median", "95 %")
    for (family, name, unit), column in sorted(values.items()):
        taken = [value for value in column if value is not None]
        points = [f"{np.quantile(taken, q):.3g}" for q in (0.5, 0.95)] if taken else ["", ""]
        table.add_row(family, name, unit, f"{len(taken)}/{len(column)}", *points)
    return table
