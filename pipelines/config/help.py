"""The settings of a command with their defaults, as its help tells them."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from importlib import resources
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from driveforge.pipelines.commands.command import Command
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.config.config import Config


def settings_help(command: Command) -> str:
    """The examples of ``command`` and its settings with their defaults, as the end of its help."""
    lines = ["examples:", *(f"  {example}" for example in command.examples), ""]
    if command.presets:
        lines += [f"{command.name} presets, over the defaults below: {' '.join(command.presets)}", ""]
    lines += ["settings:"]
    lines += [
        format_setting(
            "run_dir", _load_yaml("config")["run_dir"], get_type_hints(Config, include_extras=True)["run_dir"]
        )
    ]
    for section in command.sections:
        shown_lines: set[str] = set()
        for choice, record in _choices(section).items():
            lines += ["", f"  {section}={choice}   {record.__doc__}"]
            values = _load_yaml(f"{section}/{choice}")
            lines_of_choice = list(_setting_lines(section, values, record))
            lines += [line for line in lines_of_choice if line not in shown_lines]
            shown_lines.update(lines_of_choice)
    return "\n".join(lines) + "\n"


def _choices(section: str) -> dict[str, type]:
    """The record behind each choice of a group; where all share one record only the default choice is told."""
    kind = get_type_hints(Config)[section]
    if get_origin(kind) in (Union, UnionType):
        return {get_args(get_type_hints(option)["name"])[0]: option for option in get_args(kind)}
    chosen = next(entry[section] for entry in _load_yaml("config")["defaults"] if section in entry)
    return {chosen: kind}


def _setting_lines(where: str, values: Mapping[str, Any], record: type) -> Iterator[str]:
    """A line for each setting of ``record``, and of the records in it."""
    for key, hint in get_type_hints(record, include_extras=True).items():
        if is_dataclass(hint):
            yield from _setting_lines(f"{where}.{key}", values[key], hint)  # type: ignore[arg-type]
        elif get_origin(get_type_hints(record)[key]) is not Literal or key != "name":
            yield format_setting(f"{where}.{key}", values[key], hint)


def _load_yaml(name: str) -> dict[str, Any]:
    """One file of ``conf/`` over those it builds on."""
    values = yaml.safe_load((resources.files("driveforge.conf") / f"{name}.yaml").read_text("utf-8"))
    if "/" in name:
        below = [part for part in values.pop("defaults", []) if part != "_self_"]
        for part in below:
            values = {**_load_yaml(f"{name.split('/')[0]}/{part}"), **values}
    return dict(values)


def format_setting(key: str, value: Any, hint: Any) -> str:
    """A setting with its default and the words beside its type, ``Annotated[int, "words"]``."""
    shown = f"{key}=..." if value == "???" else f"{key}={format_value(value)}"
    return f"    {shown:<40}  {hint.__metadata__[0]}"
