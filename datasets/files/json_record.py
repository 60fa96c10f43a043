"""JSON files read as typed records: whatever is wrong with one is told in one line with the file, the key, what was
expected and what was found.

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Marker:
        unit: str
        num_bytes: int
        keys: tuple[str, ...] = ()

    marker = read_record(path, Marker, "delete it to have its unit made again")

Types are taken strictly: no text for a number, no number for text, no true for 1, no fraction for an int; a key without
a default must be there, one that the record does not know must not. Fields may be records, tuples, mappings, literals
and unions with None; what ``__post_init__`` refuses with a UserError or ValueError is told with the record's place.
NaN, infinities, keys given twice, invalid UTF-8 and nesting without end are refused anywhere.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from driveforge.datasets.errors import UserError, shorten

RecordT = TypeVar("RecordT")

_MAX_DEPTH = 100


def read_record(path: Path, record_type: type[RecordT], hint: str = "") -> RecordT:
    """The ``record_type`` in the file ``path``; ``hint`` ends each message, as "make it again with `driveforge gate`".

    ``record_type`` is a frozen dataclass or a plain type such as ``dict[str, float]``. UserError: the file is missing,
    is no file, is no JSON, or holds something else than ``record_type``.
    """
    return validate_record(read_json(path, hint), record_type, str(path), hint)


def parse_record(content: bytes, record_type: type[RecordT], where: str, hint: str = "") -> RecordT:
    """As ``read_record``, of bytes that are at hand: a member of a tar, a line of a log. ``where`` names them."""
    return validate_record(parse_json(content, where, hint), record_type, where, hint)


def validate_record(value: object, record_type: type[RecordT], where: str, hint: str = "") -> RecordT:
    """As ``read_record``, of values that were parsed before."""
    from pydantic import ValidationError

    _check_values(value, "", where, hint)
    try:
        # Only in JSON may an array stand for a tuple without types being bent elsewhere too.
        (record,) = _adapter(record_type).validate_json(json.dumps([value]))  # type: ignore[arg-type]
    except ValidationError as error:
        raise UserError(_format_error(where, _format_validation_error(error), hint)) from None
    return record  # type: ignore[no-any-return]


def read_json(path: Path, hint: str = "") -> Any:
    """The value in the file ``path``, of any type and finite or not; for what ``read_record`` cannot describe."""
    if path.exists() and not path.is_file():
        raise UserError(_format_error(str(path), "is no file", hint))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(_format_error(str(path), f"cannot be read ({error.strerror})", hint)) from None
    return parse_json(content, str(path), hint)


def parse_json(content: bytes, where: str, hint: str = "") -> Any:
    """As ``read_json``, of bytes that are at hand."""
    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_reject_duplicate_keys)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        return value
    except UnicodeDecodeError as error:
        problem = f"is not valid JSON: byte {error.start} is not UTF-8"
    except UnicodeEncodeError:
        problem = "is not valid JSON: it holds half of a surrogate pair"
    except RecursionError:
        problem = "is not valid JSON: its values are nested too deep"
    except ValueError as error:
        problem = f"is not valid JSON: {shorten(error, 120)}" if text.strip() else "is not valid JSON: it is empty"
    raise UserError(_format_error(where, problem, hint))


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is there twice in one object")
    return record


def _check_values(value: object, key: str, where: str, hint: str, depth: int = 0) -> None:
    """A UserError for numbers that are not finite, also where a record takes values of any type, and for depth."""
    if depth > _MAX_DEPTH:
        raise UserError(_format_error(where, f"{shorten(key)} is nested too deep", hint))
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

    # A plain dataclass takes its configuration from what it lies in, here a tuple of one.
    return TypeAdapter(tuple[record_type], config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


def _format_validation_error(error: Any) -> str:
    """The first thing that pydantic found wrong, as ``key must be ..., got ...``."""
    details = error.errors(include_url=False)[0]
    key = ""
    for part in details["loc"][1:]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    key = shorten(key, 80)
    match details["type"]:
        case "missing":
            return f"{key} is missing"
        case "unexpected_keyword_argument" | "extra_forbidden":
            return f"{key} is not a key here"
        case "value_error":
            return f"{key}: {details['ctx']['error']}" if key else str(details["ctx"]["error"])
    expected = details["msg"].replace("Input should be", "must be").replace("valid array", "list")
    return f"{key} {expected}, got {shorten(json.dumps(details['input'], ensure_ascii=False, default=str))}".strip()


def _format_error(where: str, problem: str, hint: str) -> str:
    return f"{where}: {problem}" + (f"; {hint}" if hint else "")
