"""What a probe found: one value a clip and measure, kept in parquet so that everything can be resampled over clips."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic

SCHEMA = pyarrow.schema(
    [
        ("step", pyarrow.int64()),
        ("model", pyarrow.string()),
        ("clip_id", pyarrow.string()),
        ("domain", pyarrow.string()),
        ("measure", pyarrow.string()),
        ("value", pyarrow.float64()),
        ("reason", pyarrow.string()),
        ("protocol", pyarrow.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationValue:
    """One measure of one clip, or of all clips of a domain together where ``clip_id`` is empty.

    ``value`` is None, and ``reason`` says why, where there was nothing to measure.
    """

    clip_id: str
    domain: str
    measure: str
    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise UserError(f"{self.clip_id}: {self.measure} needs either a value or a reason why there is none")
        if self.value is not None and not np.isfinite(self.value):
            raise UserError(f"{self.clip_id}: {self.measure} is {self.value}; a probe keeps finite numbers alone")


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All values of one model. Only values of one ``protocol`` may be compared."""

    protocol: str
    values: tuple[EvaluationValue, ...]

    def means(self) -> dict[tuple[str, str], float]:
        """The mean of each domain and measure over the clips that have a value."""
        found = defaultdict(list)
        for v in self.values:
            if v.value is not None:
                found[v.domain, v.measure].append(v.value)
        return {key: float(np.mean(values)) for key, values in found.items()}


def append_evaluation(path: Path, evaluation: Evaluation, *, step: int, model: str) -> None:
    """Add to the table at ``path``; what it held of the same step and model gives way, so that a rerun adds nothing."""
    rows = [
        {"step": step, "model": model, "protocol": evaluation.protocol}
        | {name: getattr(v, name) for name in ("clip_id", "domain", "measure", "value", "reason")}
        for v in evaluation.values
    ]
    table = pyarrow.Table.from_pylist(rows, SCHEMA)
    if path.exists():
        before = _read_table(path)
        taken = zip(before["step"].to_pylist(), before["model"].to_pylist(), strict=True)
        kept = before.filter(pyarrow.array([key != (step, model) for key in taken], pyarrow.bool_()))
        table = pyarrow.concat_tables([kept, table])
    content = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, content)
    write_atomic(path, content.getvalue().to_pybytes())


def read_evaluations(path: Path) -> dict[tuple[int, str], Evaluation]:
    """What the table at ``path`` holds, by step and model; a UserError where it is no table of a probe."""
    found: dict[tuple[int, str], list[Mapping[str, object]]] = defaultdict(list)
    for row in _read_table(path).to_pylist():
        found[row["step"], row["model"]].append(row)
    try:
        return {key: _parse_rows(rows) for key, rows in sorted(found.items())}
    except UserError as error:
        raise UserError(f"{path}: {error}; delete it or name another file") from error


def _parse_rows(rows: Iterable[Mapping[str, object]]) -> Evaluation:
    rows = list(rows)
    names = ("clip_id", "domain", "measure", "value", "reason")
    values = tuple(EvaluationValue(**{name: row[name] for name in names}) for row in rows)  # type: ignore[arg-type]
    return Evaluation(protocol=str(rows[0]["protocol"]), values=values)


def _read_table(path: Path) -> pyarrow.Table:
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        reason = shorten(error, 100)
        raise UserError(f"{path}: not a table of a probe ({reason}); delete it or name another file") from error
    if not table.schema.equals(SCHEMA):
        raise UserError(f"{path}: not a table of a probe: its columns are {', '.join(table.column_names)}")
    if empty := [name for name in table.column_names if name != "value" and table[name].null_count]:
        raise UserError(f"{path}: not a table of a probe: {empty[0]} holds no value in some rows")
    return table
