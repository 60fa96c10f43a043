"""Composition of the configuration: groups of ``conf/`` by Hydra, overridden by values of the command line."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.location import is_store_url
from driveforge.pipelines.config.build import build, with_suggestion
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.layers import COMMAND_LINE, Layer, layer_of_mapping, layer_of_overrides


def load_config(*overrides: str) -> Config:
    """The settings, with overrides as on the command line: ``load_config("data.num_scenes=3")``."""
    return compose(overrides)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """Settings, and where they came from.

    ``origins`` has the layer of every setting that one sets. ``choices`` and ``choosers`` have the choice of a group,
    and the layer that made it, where one did.
    """

    config: Config
    origins: Mapping[str, str]
    choices: Mapping[str, str]
    choosers: Mapping[str, str]


def compose(overrides: Sequence[str] = ()) -> Config:
    """The configuration with ``overrides`` such as ``data=nuscenes`` (a group) and ``data.root=DIR`` (a value).

    Groups are chosen before values are set, in any order. Raises UserError, with the closest valid key, if an override
    is wrong.
    """
    return resolve([layer_of_overrides(overrides, group_choices())]).config


def resolve(layers: Sequence[Layer]) -> Resolved:
    """The defaults of ``conf/`` with ``layers`` over them, the last one on top.

    The values of a file for a group are left out if a layer above chooses that group again.
    """
    groups, chosen = group_choices(), dict[str, str]()
    for layer in layers:
        for key, value in layer.groups.items():
            if value not in groups[key]:
                choices = [f"{key}={name}" for name in groups[key]]
                raise layer.locate(UserError(with_suggestion(f"{key}={value} is not a choice", value, choices)))
        chosen |= layer.groups
    choosers = {key: layer.origin for layer in layers for key in layer.groups}
    mapping = _compose_groups([f"{key}={value}" for key, value in chosen.items()])
    set_in: dict[str, Layer] = {}
    for number, layer in enumerate(layers):
        chosen_above = {key for above in layers[number + 1 :] for key in above.groups} if layer.is_file else set()
        for key, value in layer.values:
            if key.split(".")[0] in chosen_above:
                continue
            try:
                _set(mapping, key, value)
            except UserError as error:
                raise layer.locate(error) from error
            set_in[key] = layer
    try:
        config = build(Config, mapping)
    except UserError as error:
        raise _locate(error, set_in) from error
    origins = {key: layer.origin for key, layer in set_in.items()}
    return Resolved(config=config, origins=origins, choices=chosen, choosers=choosers)


def _locate(error: UserError, set_in: Mapping[str, Layer]) -> UserError:
    """``error`` with the file that sets the key at its start, if a file does."""
    named = [key for key in set_in if re.match(rf"(no setting )?{re.escape(key)}(?![\w])", str(error))]
    return set_in[max(named, key=len)].locate(error) if named else error


def settings_layer(mapping: Mapping[str, Any], origin: str) -> Layer:
    """The layer of a file of settings, a saved one or one of --config."""
    groups = group_choices()
    return layer_of_mapping(mapping, groups, [group for group in groups if _names_its_choice(group)], origin)


def resolve_run_dir(layers: Sequence[Layer]) -> Path:
    """The run folder of ``layers``, without checking their other settings.

    Raises UserError for a URL, which is replaced by its working copy on the command line only.
    """
    given = [value for layer in layers for key, value in layer.values if key == "run_dir"]
    if given and is_store_url(str(given[-1])):
        raise UserError(f"run_dir={given[-1]}: give a run folder in an object store on the command line, not in a file")
    layer = Layer(origin=COMMAND_LINE, groups={}, values=[("run_dir", value) for value in given[-1:]])
    return resolve([layer]).config.run_dir


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


def _set(mapping: dict[str, Any], dotted: str, value: Any) -> None:
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
