"""Folders of diffusers pipelines: their index, scheduler and components.

A released folder has ``model_index.json``, a folder per component, and nothing of driveforge. A folder that driveforge
saves is the same, with other transformer weights, and ``world_model.json`` and ``conditioning.safetensors`` beside it.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import diffusers
from safetensors.torch import save_file
from torch import Tensor

from driveforge.datasets.domains import ALL_DOMAINS
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_json, read_record
from driveforge.finetune.world_model.model import CONDITIONING_FILE, CONFIG_FILE
from driveforge.finetune.world_model.serialization import (
    CHECKSUMS_FILE,
    list_part_files,
    load_tensors,
    safetensors_errors_as_os_errors,
    verify_checksums,
    write_checksums,
)

INDEX_FILE = "model_index.json"
_SCHEDULERS = ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
_ADVICE = "give a complete folder of a diffusers pipeline"


@dataclass(frozen=True, kw_only=True, slots=True)
class GraftedConfig:
    """``world_model.json`` of a grafted pipeline: its family and the domains that have an embedding.

    ``num_frames`` are those of the longest clips of a fine-tune, None for those of the released model.
    """

    family: str
    num_frames: int | None = None
    domains: tuple[str, ...] = ALL_DOMAINS


def read_index(folder: Path) -> dict[str, Any]:
    """The ``model_index.json`` of a pipeline."""
    index = read_json(folder / INDEX_FILE, _ADVICE)
    if not isinstance(index, dict):
        raise UserError(f"{folder / INDEX_FILE}: must be an object, got {type(index).__name__}; {_ADVICE}")
    return index


def read_config(folder: Path, family: str) -> GraftedConfig:
    """The configuration of a saved model, or that of a released pipeline, whose domains are all known ones."""
    if not (folder / CONFIG_FILE).is_file():
        return GraftedConfig(family=family)
    verify_checksums(folder, [CONFIG_FILE])
    return read_record(folder / CONFIG_FILE, GraftedConfig, _ADVICE)


def read_scheduler(folder: Path) -> dict[str, Any]:
    """The configuration of the scheduler, which must be one that solves flow-matching models."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_json(path, _ADVICE)
    name = config.get("_class_name") if isinstance(config, dict) else None
    if name not in _SCHEDULERS:
        raise UserError(f"{path}: must be one of {', '.join(_SCHEDULERS)}, got {shorten(name)}")
    return dict(config)


def make_scheduler(config: Mapping[str, Any]) -> Any:
    """A scheduler without state, of a configuration from ``read_scheduler``."""
    return getattr(diffusers, config["_class_name"]).from_config(dict(config))


def require_checksums(folder: Path, parts: list[str]) -> None:
    """Raise UserError if a file of ``parts`` or of the grafts differs from ``SHA256SUMS``, if there is one."""
    verify_checksums(folder, [CONDITIONING_FILE, *(name for part in parts for name in list_part_files(folder, part))])


def load_grafts(folder: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The graft weights of a saved model, empty for a released pipeline."""
    path = folder / CONDITIONING_FILE
    return load_tensors(path, expected) if path.is_file() else {}


def save_grafted(
    directory: Path, source: Path, replaced: tuple[str, ...], config: GraftedConfig, grafts: Mapping[str, Tensor]
) -> None:
    """Complete a saved folder: all components of ``source`` except the ``replaced`` ones, the grafts and checksums.

    Unchanged files are hard links to those of ``source`` where the file system allows it, otherwise copies.
    """
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        is_component = relative.parts[0] not in replaced and (len(relative.parts) > 1 or relative.name == INDEX_FILE)
        if path.is_file() and is_component and path.name != CHECKSUMS_FILE:
            _link_or_copy(path, directory / relative)
    with safetensors_errors_as_os_errors(directory):
        save_file({name: tensor.contiguous() for name, tensor in grafts.items()}, directory / CONDITIONING_FILE)
    (directory / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n")
    write_checksums(directory)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
