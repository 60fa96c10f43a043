"""Conversion of mappings to typed frozen records; errors name the key and suggest the closest valid one."""

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Notation, Range

Record = TypeVar("Record")


_OPENING, _CLOSING = "([{", ")]}"
_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def build(cls: type[Record], mapping: Mapping[str, Any], where: str = "") -> Record:
    """Build a ``cls`` from ``mapping``; fields that have a default may be missing.

    Text is parsed as the type of the field: ``"3"`` as an int, ``"[a, b]"`` as a tuple. ``where`` is the dotted key of
    ``mapping``. Raises UserError for an unknown or missing key, a wrong type, or a value out of range.
    """
    hints = get_type_hints(cls, include_extras=True)
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in known:
            raise UserError(with_suggestion(f"no setting {_join(where, str(key))}", str(key), known, where))
    missing = [_join(where, name) for name, field in known.items() if name not in mapping and field.default is MISSING]
    if missing:
        raise UserError(f"{missing[0]} is not set")
    given = [name for name in known if name in mapping]
    return cls(**{name: _convert(hints[name], mapping[name], _join(where, name)) for name in given})


def with_suggestion(problem: str, given: str, choices: Iterable[str], where: str = "") -> str:
    """``problem``, with the closest of ``choices``, or with all of them if none is close."""
    names = sorted(choices)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    if close:
        return f"{problem}; did you mean {_join(where, close[0])}?"
    return f"{problem}; there are {', '.join(names)}" if names else problem


def split_commas(text: str) -> list[str]:
    """``text`` at its commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def format_value(value: Any) -> str:
    """``value`` as it is written after KEY= on the command line."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_value(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def select_record(options: Iterable[type], value: Mapping[str, Any], where: str) -> type:
    """The record among ``options`` whose literal ``name`` is ``value["name"]``."""
    by_name = {get_args(get_type_hints(option)["name"])[0]: option for option in options}
    name = value.get("name")
    if name not in by_name:
        raise UserError(with_suggestion(f"{where}.name={name} is not known", str(name), by_name))
    return by_name[name]


def _convert(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) is Annotated:
        kind, *metadata = get_args(kind)
        notations = [entry for entry in metadata if isinstance(entry, Notation)]
        converted = _convert(kind, notations[0].parse(value, where) if notations else value, where)
        for limits in metadata:
            if isinstance(limits, Range) and converted is not None:
                limits.check(converted, where)
        return converted
    if value == "???":
        raise UserError(f"{where} must be given, for example {where}=VALUE")
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(inner, value, where)
    if origin is Literal:
        return _convert_literal(inner, value, where)
    if origin is tuple:
        return _convert_tuple(inner[0], value, where)
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} is a group of settings, set one of them: {where}.KEY=VALUE")
        return build(kind, value, where)  # type: ignore[arg-type]
    return _convert_scalar(kind, value, where)


def _convert_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if type(None) in options:
        if value is None or value in ("null", ""):
            return None
        rest = [option for option in options if option is not type(None)]
        return _convert(rest[0], value, where)
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is a group of settings, set one of them: {where}.KEY=VALUE")
    return build(select_record(options, value, where), value, where)


def _convert_literal(allowed: tuple[Any, ...], value: Any, where: str) -> Any:
    if str(value) not in allowed:
        raise UserError(with_suggestion(f"{where}={value} is not one of {', '.join(allowed)}", str(value), allowed))
    return str(value)


def _convert_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    if isinstance(value, str) and value.startswith("[") == value.endswith("]"):
        listed = value[1:-1] if value.startswith("[") else value
        value = [item.strip() for item in listed.split(",")] if listed.strip() else []
    if not isinstance(value, list | tuple):
        raise UserError(f"{where} must be a list such as [a, b], got {value!r}")
    return tuple(_convert(kind, item, f"{where}[{index}]") for index, item in enumerate(value))


def _convert_scalar(kind: type, value: Any, where: str) -> Any:
    problem = UserError(f"{where} must be {_TYPE_NAMES[kind]}, got {value!r}")
    if value in (None, "", "null") or isinstance(value, list | tuple | Mapping):
        raise problem
    if kind is bool:
        if str(value).lower() not in ("true", "false"):
            raise problem
        return str(value).lower() == "true"
    if kind in (int, float) and isinstance(value, bool):
        raise problem
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise problem
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        raise problem from None
    if kind is float and not math.isfinite(converted):
        raise problem
    return converted.expanduser() if isinstance(converted, Path) else converted


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
