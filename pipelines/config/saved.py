"""The settings of a run, saved in ``<run_dir>/settings.yaml`` for its later stages.

Paths are saved as absolute paths, or as ``${run_dir}/…`` inside the run folder, so that stages may be called from any
directory and the folder may move.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.config.compose import Resolved, group_choices, resolve, settings_layer
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.layers import (
    COMMAND_LINE,
    RUN_DIR,
    Layer,
    from_saved,
    layer_of_overrides,
    map_strings,
)
from driveforge.pipelines.console import print_message
from driveforge.pipelines.run_dir import SETTINGS_FILE

# Settings of one call, which later stages do not inherit.
_NOT_SAVED = {"export": ("format", "merge")}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSettings:
    """The settings of a command, with where they came from, and those saved before: None in a new run."""

    config: Config
    resolved: Resolved
    previous: Config | None


def load_settings(run_dir: Path, presets: Sequence[str], overrides: Sequence[str]) -> tuple[Config, Config | None]:
    """The settings of a command in ``run_dir``, and the saved ones: None in a new run.

    ``overrides`` replace saved settings, or ``presets`` in a new run. Raises UserError if settings are wrong.
    """
    loaded = resolve_settings(run_dir, presets, [layer_of_overrides(overrides, group_choices())])
    return loaded.config, loaded.previous


def resolve_settings(run_dir: Path, presets: Sequence[str], given: Sequence[Layer]) -> LoadedSettings:
    """As ``load_settings``, with the layers that a command line gives: files of --config, and its overrides."""
    saved = _read_settings(run_dir)
    if saved is None:
        below, previous = layer_of_overrides(presets, group_choices(), "preset of the command"), None
    else:
        below = settings_layer(saved, str(run_dir / SETTINGS_FILE))
        try:
            previous = resolve([below, _run_dir_layer(run_dir)]).config
        except UserError as error:
            raise UserError(f"{_starting_with(error, below.origin)}; correct the file, or delete it") from error
    layers = [below, *given] if saved is None else [below, *given, _run_dir_layer(run_dir)]
    resolved = resolve(layers)
    return LoadedSettings(config=with_absolute_paths(resolved.config), resolved=resolved, previous=previous)


def _run_dir_layer(run_dir: Path) -> Layer:
    return Layer(origin=COMMAND_LINE, groups={}, values=[("run_dir", str(run_dir))])


def _starting_with(error: UserError, origin: str) -> str:
    return str(error) if str(error).startswith(origin) else f"{origin}: {error}"


def _read_settings(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / SETTINGS_FILE
    if not path.exists():
        return None
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({shorten(error, 100)}); correct the file, or delete it") from error
    if not isinstance(record, dict):
        raise UserError(f"{path} has no sections of settings; correct the file, or delete it")
    known = {field.name for field in fields(Config)} - {"run_dir"}
    for name, section in record.items():
        if name not in known or not isinstance(section, dict):
            raise UserError(f"{path}: {shorten(name)} is not a section of settings; correct the file, or delete it")
    inherited = _without_settings_of_one_call(record)
    return {name: map_strings(section, from_saved(run_dir)) for name, section in inherited.items()}


@contextmanager
def settings_transaction(config: Config, previous: Config | None, *, creates_run: bool) -> Iterator[None]:
    """Save ``config`` in its run folder and print the changes since ``previous``; reverted on a UserError.

    In a folder without settings, they are saved only if the command ``creates_run``.
    """
    if previous is None and not creates_run:
        yield
        return
    path = config.run_dir / SETTINGS_FILE
    old = path.read_bytes() if previous is not None else None
    if previous is not None:
        for line in changed_settings(previous, config):
            print_message(f"{path}: {line}")
    write_settings(config)
    try:
        yield
    except UserError:
        if old is None:
            path.unlink(missing_ok=True)
        else:
            write_atomic(path, old)
        raise


def write_settings(config: Config) -> None:
    """Save ``config`` in its run folder."""
    record = {
        name: map_strings(section, _to_saved(config.run_dir)) for name, section in _saved_sections(config).items()
    }
    content = yaml.safe_dump(record, sort_keys=False, allow_unicode=True).encode()
    path = config.run_dir / SETTINGS_FILE
    if not path.exists() or path.read_bytes() != content:
        write_atomic(path, content)


def _saved_sections(config: Config) -> dict[str, Any]:
    sections = {name: section for name, section in to_plain(config).items() if name != "run_dir"}
    return _without_settings_of_one_call(sections)


def _without_settings_of_one_call(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in section.items() if key not in _NOT_SAVED.get(name, ())}
        for name, section in sections.items()
    }


def changed_settings(previous: Config, now: Config) -> list[str]:
    """One line for each setting that changed."""
    old, new = (dict(flatten(_saved_sections(config))) for config in (previous, now))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key, _MISSING) != new.get(key, _MISSING)]
    return [f"{key} was {_format_setting(old, key)}, is now {_format_setting(new, key)}" for key in keys]


def with_absolute_paths(config: Config) -> Config:
    """``config`` with all relative paths made absolute, except ``run_dir``; including that of a model."""
    absolute = {
        field.name: _absolute(getattr(config, field.name)) for field in fields(config) if field.name != "run_dir"
    }
    named = Path(config.model.checkpoint)
    if named.exists() and config.model.checkpoint not in ("base", "champion", "champion-or-base"):
        absolute["model"] = replace(config.model, checkpoint=os.path.abspath(named))
    return replace(config, **absolute)


_MISSING = object()


def _format_setting(values: Mapping[str, Any], key: str) -> str:
    return shorten(format_value(values[key]), 80) if key in values else "not set"


def _absolute(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _absolute(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return Path(os.path.abspath(value)) if isinstance(value, Path) else value


def to_plain(value: Any) -> Any:
    """A record as mappings, lists and plain values, for YAML."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def flatten(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield where, value
        return
    for key, inner in value.items():
        yield from flatten(inner, f"{where}.{key}" if where else str(key))


def _to_saved(run_dir: Path) -> Callable[[str], str]:
    here = os.path.abspath(run_dir)
    return lambda text: RUN_DIR + text[len(here) :] if text == here or text.startswith(here + os.sep) else text
