"""Every setting and command that a message names exists."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from driveforge.pipelines.commands.catalog import COMMANDS
from driveforge.pipelines.config.config import Config

ROOT = Path(__file__).parents[3]
PACKAGES = ("datasets", "replay", "validation", "finetune", "pipelines")
SECTIONS = {field.name for field in fields(Config)} - {"run_dir"}
# section.name is a setting, unless it is a file or a call.
SETTING = re.compile(rf"(?<![\w./<])({'|'.join(SECTIONS)})\.([a-z_]+)(?![\w(.])")
NOT_SETTINGS = {"model.safetensors", "evaluation.parquet", "evaluation.png"}
# Advice to set something: name= at the start of a word.
ASSIGNED = re.compile(r"(?:^|[ (`:])([a-z_]+(?:\.[a-z_]+)*)=(?![=\"'])")
COMMAND = re.compile(r"`driveforge ([a-z]+)")


@cache
def trees() -> list[tuple[Path, ast.Module]]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [(path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def texts() -> Iterator[tuple[Path, str]]:
    """Every string in the source except docstrings."""
    for path, tree in trees():
        documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)]
        first = [node.body[0] for node in documented if node.body]
        docstrings = {id(statement.value) for statement in first if isinstance(statement, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield path, node.value


def error_messages() -> Iterator[tuple[Path, str]]:
    """The messages of raised errors, with X in place of the values of f-strings."""
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for argument in node.exc.args:
                    yield path, _text(argument)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "X"


def keys() -> set[str]:
    found = {"run_dir", *SECTIONS}
    for section, kind in get_type_hints(Config).items():
        records: list[type] = [kind] if is_dataclass(kind) else list(get_args(kind))
        found |= {f"{section}.{name}" for record in records for name in _fields(record)}
    return found


def _fields(record: type) -> Iterator[str]:
    """The names of settings, dotted for nested records."""
    for name, hint in get_type_hints(record).items():
        yield name
        if is_dataclass(hint):
            yield from (f"{name}.{inner}" for inner in get_type_hints(hint))


def test_every_setting_that_a_text_names_exists() -> None:
    known = keys() | NOT_SETTINGS
    modules = {f"{path.parent.name}.{path.stem}" for path, _ in trees()}
    unknown = [
        f"{path}: {match.group()}"
        for path, text in texts()
        for match in SETTING.finditer(text)
        if match.group() not in known | modules
    ]
    assert unknown == []


def test_every_field_in_an_error_is_named_with_its_section() -> None:
    known = keys()
    names = "|".join(sorted({key.split(".")[1] for key in known if "." in key} - {"name"}))
    dotted = re.compile(rf"(?<![\w./])[a-z_]+\.(?:{names})(?![\w(.])")
    unknown = [f"{path}: {key}" for path, text in error_messages() for key in dotted.findall(text) if key not in known]
    assert unknown == []


def test_every_setting_that_an_error_advises_exists() -> None:
    known = keys() | {"KEY"}
    unknown = [
        f"{path}: {name}=" for path, text in error_messages() for name in ASSIGNED.findall(text) if name not in known
    ]
    assert unknown == []


def test_every_command_that_a_text_names_exists() -> None:
    commands = {command.name for command in COMMANDS}
    unknown = [f"{path}: {name}" for path, text in texts() for name in COMMAND.findall(text) if name not in commands]
    assert unknown == []


@pytest.mark.parametrize("text", ["set replay.shar=1", "validate.num_clip"])
def test_a_wrong_setting_is_found(text: str) -> None:
    assert not {match.group() for match in SETTING.finditer(text)} <= keys()
