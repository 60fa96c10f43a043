"""Reading of ClipGT tables. Errors name the file and the column in one line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array

AXES = ("x", "y", "z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The columns of one file by their path, such as ``obstacle.center.x``."""

    path: Path
    num_rows: int
    columns: Mapping[str, Any] = field(repr=False)


def read_table(path: Path) -> Table:
    """The table in ``path``. Raises UserError if the file is missing or is not parquet."""
    if not path.is_file():
        raise UserError(f"{path}: the file is missing; a ClipGT clip needs it")
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as parquet ({shorten(error, 120)})") from error
    while any(pa.types.is_struct(column.type) for column in table.schema):
        table = table.flatten()
    columns = {name: _decode(table.column(number)) for number, name in enumerate(table.column_names)}
    return Table(path=path, num_rows=table.num_rows, columns=columns)


def read_numbers(table: Table, *names: str) -> Array:
    """The columns ``names`` as float64 ``(N, len(names))``. Raises UserError for text, empty cells, NaN, infinity."""
    columns = [_require(table, name, _is_number, "numbers") for name in names]
    out: Array = np.stack([column.to_numpy(zero_copy_only=False).astype(np.float64) for column in columns], 1)
    if not np.isfinite(out).all():
        row, column = np.argwhere(~np.isfinite(out))[0]
        raise UserError(f"{table.path}: {names[column]} is NaN or infinite in row {row}")
    return out


def read_vectors(table: Table, name: str, axes: str = "xyz") -> Array:
    """The struct column ``name`` with the fields ``axes`` as ``(N, len(axes))``."""
    return read_numbers(table, *(f"{name}.{axis}" for axis in axes))


def read_times(table: Table, name: str = "key.timestamp_micros") -> NDArray[np.int64]:
    """Whole microseconds ``(N,)``."""
    column = _require(table, name, lambda kind: pa.types.is_integer(kind), "whole microseconds")
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def read_texts(table: Table, name: str) -> list[str]:
    return [str(text) for text in _require(table, name, _is_text, "text").to_pylist()]


def read_text_lists(table: Table, name: str) -> list[list[str]]:
    """Lists of text by row; empty lists if there is no such column, which is optional."""
    if name not in table.columns:
        return [[] for _ in range(table.num_rows)]
    column = _require(table, name, _is_list_of_texts, "lists of text", allow_null=True)
    return [[text or "" for text in texts or ()] for texts in column.to_pylist()]


def read_lines(table: Table, name: str) -> list[Array]:
    """The polylines ``(n, 3)`` of the column ``name``, a list of points in each row."""
    column = _require(table, name, _is_list_of_points, "lists of points with x, y and z")
    points = column.flatten()
    values = np.zeros((len(points), 3))
    for number, axis in enumerate(AXES):
        cells = points.field(axis)
        if points.null_count or cells.null_count:
            raise UserError(f"{table.path}: {name}.{axis} has an empty cell")
        values[:, number] = cells.to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    if not np.isfinite(values).all():
        point, axis = np.argwhere(~np.isfinite(values))[0]
        row = int(np.searchsorted(ends, point, side="right"))
        raise UserError(f"{table.path}: {name}.{AXES[axis]} is NaN or infinite in row {row}")
    return [values[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _require(table: Table, name: str, has_type: Any, expected: str, *, allow_null: bool = False) -> Any:
    """The column ``name``. Raises UserError if it is missing, has another type or an empty cell."""
    column = table.columns.get(name)
    if column is None:
        found = ", ".join(table.columns) or "none"
        raise UserError(f"{table.path}: the column {name} is missing; the file has {found}")
    if not has_type(column.type):
        raise UserError(f"{table.path}: {name} must hold {expected}, but it holds {shorten(column.type)}")
    if column.null_count and not allow_null:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise UserError(f"{table.path}: {name} has an empty cell in row {row}")
    return column


def _decode(column: Any) -> Any:
    array = column.combine_chunks()
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_list_of_texts(kind: Any) -> bool:
    return _is_list(kind) and (_is_text(kind.value_type) or pa.types.is_null(kind.value_type))


def _is_list_of_points(kind: Any) -> bool:
    if not (_is_list(kind) and pa.types.is_struct(kind.value_type)):
        return False
    fields = {field.name: field.type for field in kind.value_type}
    return all(axis in fields and _is_number(fields[axis]) for axis in AXES)
