"""Which file of ``conf/`` a default comes from."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

_GLOBAL = "# @package _global_"


def default_origin(key: str, chosen: Mapping[str, str], choosers: Mapping[str, str]) -> str:
    """The file that holds the default of ``key``: that of a model family, or of its group's choice, or one below it.

    ``chosen`` are the choices of groups that are not the default ones, and ``choosers`` where each was made.
    """
    group, dot, rest = key.partition(".")
    if not dot:
        return "conf/config.yaml"
    choices = _default_choices() | dict(chosen)
    model = f"model/{choices['model']}"
    is_of_model = _text(model).startswith(_GLOBAL) and _has(_read(model), key)
    owner = model if is_of_model else _owner(f"{group}/{choices[group]}", rest)
    folder, _, choice = owner.partition("/")
    chooser = f" ({folder}={choice}: {choosers[folder]})" if chosen.get(folder) == choice else ""
    return f"conf/{owner}.yaml{chooser}"


@cache
def _default_choices() -> dict[str, str]:
    groups = [entry for entry in _read("config")["defaults"] if isinstance(entry, dict)]
    return {group: choice for entry in groups for group, choice in entry.items()}


def _owner(name: str, key: str) -> str:
    record = _read(name)
    below = [part for part in record.get("defaults", []) if part != "_self_"]
    if _has(record, key) or not below:
        return name
    return _owner(f"{name.split('/')[0]}/{below[-1]}", key)


def _has(record: Mapping[str, Any], key: str) -> bool:
    node: Any = record
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


@cache
def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(_text(name)))


def _text(name: str) -> str:
    return (resources.files("driveforge.conf") / f"{name}.yaml").read_text("utf-8")
