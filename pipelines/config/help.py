"""Help texts about the settings of a command and their defaults."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from importlib import resources
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from driveforge.pipelines.commands.command import Command
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.config.config import Config

WIDTH = 100
_INDENT, _HELP_COLUMN = 4, 46


def settings_help(command: Command) -> str:
    """The end of a command's help: its examples, and its settings with their defaults."""
    lines = ["examples:", *(f"  {example}" for example in command.examples), ""]
    if command.presets:
        lines += [f"presets of {command.name}, which replace the defaults below:", f"  {' '.join(command.presets)}", ""]
    run_dir_hint = get_type_hints(Config, include_extras=True)["run_dir"]
    lines += ["settings:", format_setting("run_dir", _load_yaml("config")["run_dir"], run_dir_hint)]
    for section in command.sections:
        shown_lines: set[str] = set()
        for choice, record in _choices(section).items():
            lines += ["", *_wrap(f"  {section}={choice}   {record.__doc__}", indent=6)]
            values = _load_yaml(f"{section}/{choice}")
            choice_lines = list(_setting_lines(section, values, record))
            lines += [line for line in choice_lines if line not in shown_lines]
            shown_lines.update(choice_lines)
    return "\n".join(lines) + "\n"


def format_setting(key: str, value: Any, hint: Any) -> str:
    """``key=value`` and the help text of its type, ``Annotated[int, "help text"]``, in two columns of 100 in total."""
    shown = f"{key}=..." if value == "???" else f"{key}={format_value(value)}"
    first = " " * _INDENT + shown
    if len(first) + 2 > _HELP_COLUMN:
        lines = _wrap(first, indent=_INDENT + len(key) + 2)
        return "\n".join([*lines, *_wrap(" " * _HELP_COLUMN + _help_text(hint), indent=_HELP_COLUMN)])
    return "\n".join(_wrap(f"{first:<{_HELP_COLUMN}}{_help_text(hint)}", indent=_HELP_COLUMN))


def _help_text(hint: Any) -> str:
    """The help text of a type, preceded by the valid values of a ``Literal``."""
    kind, text = get_args(hint)[0], str(hint.__metadata__[0])
    return f"{', '.join(get_args(kind))}; {text}" if get_origin(kind) is Literal else text


def _wrap(line: str, indent: int) -> list[str]:
    """``line`` wrapped at ``WIDTH``; further lines are indented."""
    options = {"break_long_words": False, "break_on_hyphens": False, "replace_whitespace": False}
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * indent, **options)  # type: ignore[arg-type]


def _choices(section: str) -> dict[str, type]:
    """The record of each choice of a group; only the default choice if all share one record."""
    kind = get_type_hints(Config)[section]
    if get_origin(kind) in (Union, UnionType):
        return {get_args(get_type_hints(option)["name"])[0]: option for option in get_args(kind)}
    chosen = next(entry[section] for entry in _load_yaml("config")["defaults"] if section in entry)
    return {chosen: kind}


def _setting_lines(where: str, values: Mapping[str, Any], record: type) -> Iterator[str]:
    """The formatted settings of ``record``, and of the records in it."""
    for key, hint in get_type_hints(record, include_extras=True).items():
        if is_dataclass(hint):
            yield from _setting_lines(f"{where}.{key}", values[key], hint)  # type: ignore[arg-type]
        elif get_origin(get_type_hints(record)[key]) is not Literal or key != "name":
            yield format_setting(f"{where}.{key}", values[key], hint)


def _load_yaml(name: str) -> dict[str, Any]:
    """A file of ``conf/``, merged over the files in its defaults list."""
    values = yaml.safe_load((resources.files("driveforge.conf") / f"{name}.yaml").read_text("utf-8"))
    if "/" in name:
        below = [part for part in values.pop("defaults", []) if part != "_self_"]
        for part in below:
            values = {**_load_yaml(f"{name.split('/')[0]}/{part}"), **values}
    return dict(values)
