"""Results of an evaluation: one value per clip and measure, so that clips can be resampled, in a parquet table."""

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
    """A measure of one clip, or of all clips of a domain if ``clip_id`` is empty.

    If it cannot be measured, ``value`` is None and ``reason`` says why.
    """

    clip_id: str
    domain: str
    measure: str
    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise UserError(f"{self.clip_id}: {self.measure} must have either a value or a reason")
        if self.value is not None and not np.isfinite(self.value):
            raise UserError(f"{self.clip_id}: {self.measure} is {self.value}; the values of an evaluation are finite")


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All values of one model. Only evaluations with the same ``protocol`` may be compared."""

    protocol: str
    values: tuple[EvaluationValue, ...]

    def means(self) -> dict[tuple[str, str], float]:
        """The mean over the clips with a value, by domain and measure."""
        found = defaultdict(list)
        for v in self.values:
            if v.value is not None:
                found[v.domain, v.measure].append(v.value)
        return {key: float(np.mean(values)) for key, values in found.items()}


def append_evaluation(path: Path, evaluation: Evaluation, *, step: int, model: str) -> None:
    """Add an evaluation to the table at ``path``; rows of the same step and model are replaced."""
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
    """The evaluations in the table at ``path``, by step and model. Raises UserError if it is not such a table."""
    found: dict[tuple[int, str], list[Mapping[str, object]]] = defaultdict(list)
    for row in _read_table(path).to_pylist():
        found[row["step"], row["model"]].append(row)
    try:
        return {key: _parse_rows(rows) for key, rows in sorted(found.items())}
    except UserError as error:
        raise UserError(f"{path}: {error}; delete it or use another file") from error


def _parse_rows(rows: Iterable[Mapping[str, object]]) -> Evaluation:
    rows = list(rows)
    names = ("clip_id", "domain", "measure", "value", "reason")
    values = tuple(EvaluationValue(**{name: row[name] for name in names}) for row in rows)  # type: ignore[arg-type]
    return Evaluation(protocol=str(rows[0]["protocol"]), values=values)


def _read_table(path: Path) -> pyarrow.Table:
    try:
        table = pyarrow.parquet.read_table(path)
        table.validate(full=True)  # also the encoding of text
    except (OSError, pyarrow.ArrowException) as error:
        reason = shorten(error, 100)
        raise UserError(f"{path}: not an evaluation table ({reason}); delete it or use another file") from error
    if not table.schema.equals(SCHEMA):
        raise UserError(f"{path}: not an evaluation table: its columns are {', '.join(table.column_names)}")
    if empty := [name for name in table.column_names if name != "value" and table[name].null_count]:
        raise UserError(f"{path}: not an evaluation table: {empty[0]} is empty in some rows")
    return table
