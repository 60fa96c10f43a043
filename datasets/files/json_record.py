"""JSON files read as typed records, with one-line errors: the file, the key, what was expected and what was found.

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Marker:
        unit: str
        num_bytes: int
        keys: tuple[str, ...] = ()

    marker = read_record(path, Marker, "delete it to generate its unit again")

Types are strict: no text for a number, no number for text, no true for 1, no fraction for an int. Keys without a
default are required, unknown keys are errors. Fields may be records, tuples, mappings, literals and unions with None. A
UserError or ValueError of ``__post_init__`` is reported with the key of its record. NaN, infinities, duplicate keys,
invalid UTF-8 and excessive nesting are errors everywhere.
"""

import json
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from driveforge.datasets.errors import UserError, shorten

RecordT = TypeVar("RecordT")

_MAX_DEPTH = 100


def read_record(path: Path, record_type: type[RecordT], hint: str = "") -> RecordT:
    """Read ``path`` as a ``record_type``: a frozen dataclass or a plain type such as ``dict[str, float]``.

    Raises UserError if the file is missing, is not JSON, or does not hold a ``record_type``. ``hint`` is the end of the
    message and says what to do, for example "run `driveforge gate` again".
    """
    return validate_record(read_json(path, hint), record_type, str(path), hint)


def parse_record(content: bytes, record_type: type[RecordT], where: str, hint: str = "") -> RecordT:
    """As ``read_record``, from bytes such as a member of a tar; ``where`` names them in errors."""
    return validate_record(parse_json(content, where, hint), record_type, where, hint)


def validate_record(value: object, record_type: type[RecordT], where: str, hint: str = "") -> RecordT:
    """As ``read_record``, from parsed JSON."""
    from pydantic import ValidationError

    _check_values(value, "", where, hint)
    try:
        # In strict mode, pydantic takes an array for a tuple only from JSON.
        (record,) = _adapter(record_type).validate_json(json.dumps([value]))  # type: ignore[arg-type]
    except ValidationError as error:
        raise UserError(_format_error(where, _format_validation_error(error), hint)) from None
    return record  # type: ignore[no-any-return]


def read_json(path: Path, hint: str = "") -> Any:
    """Read any JSON value, NaN and infinities included, for files that ``read_record`` cannot describe."""
    if path.exists() and not path.is_file():
        raise UserError(_format_error(str(path), "is not a file", hint))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(_format_error(str(path), f"cannot be read ({error.strerror})", hint)) from None
    return parse_json(content, str(path), hint)


def parse_json(content: bytes, where: str, hint: str = "") -> Any:
    """As ``read_json``, from bytes; ``where`` names them in errors."""
    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_reject_duplicate_keys)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # raises for half of a surrogate pair
        return value
    except UnicodeDecodeError as error:
        problem = f"is not valid JSON: byte {error.start} is not UTF-8"
    except UnicodeEncodeError:
        problem = "is not valid JSON: it holds half of a surrogate pair"
    except RecursionError:
        problem = "is not valid JSON: its values are nested too deeply"
    except ValueError as error:
        problem = f"is not valid JSON: {shorten(error, 120)}" if text.strip() else "is not valid JSON: it is empty"
    raise UserError(_format_error(where, problem, hint))


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r} in one object")
    return record


def _check_values(value: object, key: str, where: str, hint: str, depth: int = 0) -> None:
    """Raise UserError for NaN, infinities and excessive nesting, also in fields of any type."""
    if depth > _MAX_DEPTH:
        raise UserError(_format_error(where, f"{shorten(key)} is nested too deeply", hint))
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(_format_error(where, f"{key or 'the value'} holds NaN or infinite values", hint))
    if isinstance(value, dict):
        for name, item in value.items():
            _check_values(item, f"{key}.{name}" if key else str(name), where, hint, depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_values(item, f"{key}[{number}]", where, hint, depth + 1)


@cache
def _adapter(record_type: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # pydantic takes the configuration of a dataclass from the type that contains it, here a tuple of one element.
    return TypeAdapter(tuple[record_type], config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


def _format_validation_error(error: Any) -> str:
    """The first error that pydantic found, as ``key must be ..., got ...``."""
    details = error.errors(include_url=False)[0]
    key = shorten(_join_key(details["loc"][1:]), 80)
    match details["type"]:
        case "missing":
            return f"{key} is missing"
        case "unexpected_keyword_argument" | "extra_forbidden":
            return f"{key} is not a known key"
        case "value_error":
            return f"{key}: {details['ctx']['error']}" if key else str(details["ctx"]["error"])
    expected = details["msg"].replace("Input should be", "must be").replace("valid array", "list")
    return f"{key} {expected}, got {shorten(json.dumps(details['input'], ensure_ascii=False, default=str))}".strip()


def _join_key(parts: Iterable[str | int]) -> str:
    """``("shards", 1, "name")`` as ``shards[1].name``."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return key.removeprefix(".")


def _format_error(where: str, problem: str, hint: str) -> str:
    return f"{where}: {problem}" + (f"; {hint}" if hint else "")
