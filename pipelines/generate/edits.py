"""Edits in settings: names, records with parameters, and sweeps over them, as in YAML or on the command line.

    [as-recorded, {edit: slow, factor: [0.5, 0.7]}, slow(factor=0.3)]

A parameter that is a list stands for one edit per value. The setting holds the text of every edit.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from driveforge.datasets.edits import EDITS, KINDS, Edit, edit_text
from driveforge.datasets.errors import UserError, shorten
from driveforge.pipelines.config.build import build, split_commas, with_suggestion

_TEXT = re.compile(r"([\w-]+)\((.*)\)", re.DOTALL)


def parse_edits(value: Any, where: str) -> tuple[str, ...]:
    """The texts of the edits in ``value``, a list or the text of one; raises UserError naming ``where``."""
    if isinstance(value, str):
        value = _split_list(value, where)
    if not isinstance(value, Sequence):
        raise UserError(f"{where} must be a list such as [as-recorded, {{edit: slow, factor: 0.7}}], got {value!r}")
    for number, item in enumerate(value):
        if not item or not isinstance(item, str | Mapping):
            raise UserError(f"{where}[{number}] must be text, got {item!r}")
    return tuple(
        edit_text(edit) for number, item in enumerate(value) for edit in _parse_item(item, f"{where}[{number}]")
    )


def parse_edit(text: str, where: str = "generate.edits") -> Edit:
    """The edit with this text or name; raises UserError naming ``where`` if there is none."""
    edits = list(_parse_item(text, where))
    if len(edits) != 1:
        raise UserError(f"{where}: {text!r} stands for {len(edits)} edits")
    return edits[0]


def _parse_item(item: str | Mapping[str, Any], where: str) -> Iterator[Edit]:
    """The edits of one item of the list: one, or several if a parameter is a list."""
    if isinstance(item, str) and item in EDITS:
        yield EDITS[item]
        return
    record = dict(_parse_text(item, where) if isinstance(item, str) else item)
    kind = record.pop("edit", None)
    if kind not in KINDS:
        name = shorten(kind)
        names = {*EDITS, *KINDS} if not record else KINDS
        raise UserError(with_suggestion(f"{where}: no edit {name!r}", name, names))
    values = {key: value if isinstance(value, list) else [value] for key, value in record.items()}
    for combination in itertools.product(*values.values()):
        parameters = dict(zip(values, combination, strict=True))
        yield _build_edit(kind, parameters, f"{where}.{kind}" if parameters else where)


def _build_edit(kind: str, parameters: Mapping[str, Any], where: str) -> Edit:
    return build(KINDS[kind], parameters, where)


def _parse_text(text: str, where: str) -> dict[str, Any]:
    """``{edit: slow, factor: 0.7}`` or ``slow(factor=0.7)`` as a mapping."""
    if text.startswith("{"):
        try:
            record = yaml.safe_load(text)
        except yaml.YAMLError:
            record = None
        if not isinstance(record, dict) or not all(isinstance(key, str) for key in record):
            raise UserError(f"{where} must be a record such as {{edit: slow, factor: 0.7}}, got {shorten(text)!r}")
        return record
    match = _TEXT.fullmatch(text)
    if not match:
        return {"edit": text}
    pairs = [part.partition("=") for part in split_commas(match[2])] if match[2].strip() else []
    if not all(key.strip() and equals for key, equals, _ in pairs):
        raise UserError(f"{where} must be written like {match[1]}(PARAMETER=VALUE), got {shorten(text)!r}")
    return {"edit": match[1]} | {key.strip(): yaml.safe_load(value) for key, _, value in pairs}


def _split_list(text: str, where: str) -> list[str]:
    """The items of ``[a, b]``, or of ``a, b`` without brackets."""
    if text.startswith("[") != text.endswith("]"):
        raise UserError(f"{where} must be a list such as [a, b], got {text!r}")
    listed = text[1:-1] if text.startswith("[") else text
    return split_commas(listed) if listed.strip() else []
