"""Layers of settings: files and command lines that replace the defaults of ``conf/``, one over the other."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from driveforge.datasets.errors import UserError, shorten
from driveforge.finetune.world_model.families.registry import is_model_folder, recognize_family

COMMAND_LINE = "command line"
# Stands for the run folder in the saved settings, so that the folder may move.
RUN_DIR = "${run_dir}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """``groups`` are choices such as data=nuscenes; ``values`` are settings by their dotted keys, the last one counts.

    ``origin`` says where the layer comes from, and ``is_file`` that this is the path of a file.
    """

    origin: str
    groups: Mapping[str, str]
    values: Sequence[tuple[str, Any]]
    is_file: bool = False

    def locate(self, error: UserError) -> UserError:
        """``error`` in this layer; in a file, with the path of the file before it."""
        return UserError(f"{self.origin}: {error}") if self.is_file else error


def layer_of_overrides(overrides: Sequence[str], groups: Collection[str], origin: str = COMMAND_LINE) -> Layer:
    """The layer of ``KEY=VALUE`` words."""
    return _layer([split_override(override) for override in overrides], groups, origin, is_file=False)


def layer_of_mapping(
    mapping: Mapping[str, Any], groups: Collection[str], named_groups: Collection[str], origin: str
) -> Layer:
    """The layer of a settings file, whose sections are mappings.

    A group is chosen by ``data: nuscenes``, or by its ``name`` if it is one of ``named_groups``.
    """
    names = {f"{group}.name": group for group in named_groups}
    pairs = [(names.get(key, key), value) for key, value in _flatten(mapping)]
    return _layer(pairs, groups, origin, is_file=True)


def read_settings_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file of settings; raises UserError if it cannot be read."""
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"--config {path} cannot be read ({shorten(error, 120)}); correct the path or the file"
        ) from error
    if not isinstance(record, dict):
        raise UserError(f"--config {path} must hold settings by section, such as generate: {{num_clips: 10}}")
    # A run's settings.yaml names files in its folder by ${run_dir}/.
    return {str(key): map_strings(value, from_saved(path.parent)) for key, value in record.items()}


def split_override(override: str) -> tuple[str, str]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r} is not a setting; write KEY=VALUE")
    return key, value


def _layer(pairs: Sequence[tuple[str, Any]], groups: Collection[str], origin: str, *, is_file: bool) -> Layer:
    """A pair whose key is a group chooses it."""
    chosen = {key: str(value) for key, value in pairs if key in groups}
    values = [(key, value) for key, value in pairs if key not in groups]
    return Layer(origin=origin, groups=_recognized_model(values) | chosen, values=values, is_file=is_file)


def _recognized_model(values: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """The choice of the group ``model`` by the folder that ``model.checkpoint`` names, if it names one."""
    folders = [Path(str(value)).expanduser() for key, value in values if key == "model.checkpoint"]
    return {"model": recognize_family(folders[-1])} if folders and is_model_folder(folders[-1]) else {}


def _flatten(mapping: Mapping[Any, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        full = f"{where}.{key}" if where else str(key)
        if isinstance(value, Mapping):
            yield from _flatten(value, full)
        else:
            yield full, value


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with ``change`` applied to every string in it."""
    if isinstance(value, Mapping):
        return {key: map_strings(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [map_strings(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def from_saved(run_dir: Path) -> Callable[[str], str]:
    here = os.path.abspath(run_dir)
    return lambda text: here + text[len(RUN_DIR) :] if text.startswith(RUN_DIR) else text
