"""Composition of the configuration: groups of ``conf/`` by Hydra, overridden by values of the command line."""

import logging
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.families.registry import is_model_folder, recognize_family
from driveforge.pipelines.config.build import build, with_suggestion
from driveforge.pipelines.config.config import Config


def load_config(*overrides: str) -> Config:
    """The settings, with overrides as on the command line: ``load_config("data.num_scenes=3")``."""
    return compose(overrides)


def compose(overrides: Sequence[str] = (), saved: Mapping[str, Any] | None = None) -> Config:
    """The configuration with ``overrides`` such as ``data=nuscenes`` (a group) and ``data.root=DIR`` (a value).

    Groups are chosen before values are set, in any order. ``saved`` holds settings by section that replace the
    defaults. Raises UserError, with the closest valid key, if an override is wrong.
    """
    pairs = [_split(override) for override in overrides]
    groups, saved = group_choices(), saved or {}
    named = {
        key: section["name"]
        for key, section in saved.items()
        if isinstance(section, Mapping) and "name" in section and _names_its_choice(key)
    }
    chosen = _recognized_model(pairs) | {key: value for key, value in pairs if key in groups}
    for key, value in (named | chosen).items():
        if value not in groups[key]:
            raise UserError(
                with_suggestion(f"{key}={value} is not a choice", value, [f"{key}={name}" for name in groups[key]])
            )
    mapping = _compose_groups([f"{key}={value}" for key, value in (named | chosen).items()])
    for key, section in saved.items():
        if key not in chosen:
            mapping[key] = mapping[key] | section if isinstance(section, Mapping) else section
    for key, value in pairs:
        if key not in groups:
            _set(mapping, key, value)
    return build(Config, mapping)


def _recognized_model(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The choice of the group ``model`` by the folder that ``model.checkpoint`` names, if it names one."""
    folders = [Path(value).expanduser() for key, value in pairs if key == "model.checkpoint"]
    return {"model": recognize_family(folders[-1])} if folders and is_model_folder(folders[-1]) else {}


def resolve_run_dir(overrides: Sequence[str]) -> Path:
    """The run folder of ``overrides``, without checking the other overrides."""
    given = [value for key, value in map(_split, overrides) if key == "run_dir"]
    return compose([f"run_dir={value}" for value in given[-1:]]).run_dir


def group_choices() -> dict[str, list[str]]:
    """The choices of every group in ``conf/``: ``{"data": ["nuscenes", ...], ...}``.

    Files with a leading underscore are shared by others and are not choices.
    """
    root = resources.files("driveforge.conf")
    folders = sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda entry: entry.name)
    return {
        folder.name: sorted(
            f.name.removesuffix(".yaml") for f in folder.iterdir() if re.match(r"[^_].*\.yaml$", f.name)
        )
        for folder in folders
        if folder.name in get_type_hints(Config)
    }


def _compose_groups(choices: list[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf

    logging.getLogger("hydra").setLevel(logging.ERROR)
    with initialize_config_module(config_module="driveforge.conf", version_base="1.3"):
        composed = OmegaConf.to_container(hydra_compose("config", overrides=choices), resolve=True)
    assert isinstance(composed, dict)
    return {str(key): value for key, value in composed.items()}


def _split(override: str) -> tuple[str, str]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r} is not a setting; write KEY=VALUE")
    return key, value


def _set(mapping: dict[str, Any], dotted: str, value: str) -> None:
    """Set one value; every part of the dotted key must exist."""
    *path, last = dotted.split(".")
    if last == "name" and _names_its_choice(path[0]):
        raise UserError(f"{dotted} is set by the group: write {'.'.join(path)}={value}")
    node, where = mapping, ""
    for part in path:
        node = _child(node, part, where, dotted)
        where = f"{where}.{part}" if where else part
        if not isinstance(node, dict):
            raise UserError(f"{where} is a single value, it has no {last}")
    if isinstance(_child(node, last, where, dotted), dict):
        raise UserError(f"{dotted} is a group of settings, set one of them: {dotted}.KEY=VALUE")
    node[last] = value


def _child(node: dict[str, Any], part: str, where: str, dotted: str) -> Any:
    if part not in node:
        if others := _choices_with(where, part):
            raise UserError(f"{where}={node['name']} has no {part}; {dotted} needs {' or '.join(others)}")
        raise UserError(with_suggestion(f"no setting {dotted}", part, node, where))
    return node[part]


def _names_its_choice(group: str) -> bool:
    """Whether ``name`` in the group is the name of its file: ``data=video`` has ``data.name=video``."""
    hint = get_type_hints(Config).get(group)
    records = get_args(hint) or (hint,)
    return all(get_origin(get_type_hints(record).get("name")) is Literal for record in records)


def _choices_with(group: str, key: str) -> list[str]:
    """The choices of a group, such as ``data=video``, whose record has the field ``key``."""
    kinds = get_args(get_type_hints(Config).get(group))
    return [f"{group}={get_args(get_type_hints(kind)['name'])[0]}" for kind in kinds if key in get_type_hints(kind)]
