"""Checkpoint lookup: the shipped base, a model folder, or the champion of the registry."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import driveforge
from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import create_file
from driveforge.datasets.files.json_record import read_json, read_record
from driveforge.finetune.world_model.families.registry import is_model_folder, read_limits, recognize_family
from driveforge.finetune.world_model.hub import download, is_hub_name
from driveforge.finetune.world_model.limits import require_framing
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, open_registry
from driveforge.pipelines.tracking.store import find_store

# Stored with a fine-tuned model: everything that determined its weights.
LINEAGE = "lineage.json"
CHAMPION_OR_BASE = "champion-or-base"
BASE = Path(driveforge.__file__).parent / "finetune" / "base"
MODEL_FILE = "world_model.json"


def resolve_checkpoint(config: Config) -> Path:
    """The folder of ``model.checkpoint``; raises UserError if it holds no world model or there is no champion."""
    checkpoint = config.model.checkpoint
    if checkpoint in (CHAMPION, CHAMPION_OR_BASE):
        champion = _find_champion(config)
        folder = _open_registry(config).folder(champion, config.run.champions) if champion else BASE
    elif checkpoint == "base":
        folder = BASE
    else:
        folder = Path(checkpoint) if Path(checkpoint).exists() or not is_hub_name(checkpoint) else download(checkpoint)
    if not is_model_folder(folder):
        raise UserError(f"model.checkpoint={checkpoint}: {folder} holds no model; use base or a saved model")
    require_family(folder, config)
    return folder


def require_clip_size(config: Config, *, trains: bool = True) -> None:
    """Raise UserError if the model of ``config`` cannot take clips of ``config.data``; unless it is a champion.

    Only a command that ``trains`` limits their length.
    """
    checkpoint = config.model.checkpoint
    folder = BASE if checkpoint == "base" else Path(checkpoint)
    if config.model.generator is None and is_model_folder(folder):
        limits = read_limits(folder)
        require_framing(config.data.framing, limits if trains else limits.in_chunks, f"the model in {folder}")


def require_family(folder: Path, config: Config) -> None:
    """Raise UserError if the model in ``folder`` is of another family than ``model=NAME`` says."""
    family = recognize_family(folder)
    if family != config.model.name:
        raise UserError(f"{folder} holds a model of the family {family}, not {config.model.name}; set model={family}")


def resolve_model(config: Config) -> Path:
    """The run's fine-tuned model ``<run_dir>/model`` if it exists, else the configured checkpoint."""
    return config.run.model if config.run.model.is_dir() else resolve_checkpoint(config)


@dataclass(frozen=True, kw_only=True, slots=True)
class _InitialChampion:
    """The champion when a run was created; None if there was none."""

    version: str | None = None
    digest: str = ""


def read_lineage(folder: Path) -> dict[str, Any]:
    """The lineage of the model in ``folder``, empty if it has none; raises UserError if the file is damaged."""
    path = folder / LINEAGE
    if not path.is_file():
        return {}
    lineage = read_json(path, advice := "use an intact copy of the model")
    if not isinstance(lineage, dict):
        raise UserError(f"{path}: must be an object, got {type(lineage).__name__}; {advice}")
    return lineage


def resolve_start_checkpoint(config: Config) -> Path:
    """The folder of ``model.checkpoint`` for a fine-tune; a resumed run keeps its start checkpoint.

    ``<run_dir>/champion.json`` records the champion when the run was created, or the base if there was none.
    """
    if config.model.generator is not None:
        raise UserError(
            f"model.generator={config.model.generator} cannot be fine-tuned: unset it, or use generate, calibrate, "
            "gate and export instead of run"
        )
    if config.model.checkpoint not in (CHAMPION, CHAMPION_OR_BASE):
        return resolve_checkpoint(config)
    record_path = config.run.starting_champion
    if not record_path.exists():
        champion = _find_champion(config)
        initial = _InitialChampion(version=champion.number, digest=champion.digest) if champion else _InitialChampion()
        create_file(record_path, json.dumps(asdict(initial)).encode() + b"\n")
    number = read_record(record_path, _InitialChampion, "delete it to start from the current champion").version
    if number is None:
        return BASE
    registry = _open_registry(config)
    version = registry.version(number)
    if version is None:
        raise UserError(
            f"{record_path} names version {number}, which was deleted from the registry; use another run_dir"
        )
    return registry.folder(version, config.run.champions)


def _find_champion(config: Config) -> Version | None:
    """The champion, or None if there is none and the setting allows it; raises UserError otherwise."""
    is_optional = config.model.checkpoint == CHAMPION_OR_BASE
    if is_optional and not find_store(config.run, config.tracking).exists:
        return None
    champion = _open_registry(config).alias(CHAMPION)
    if champion is None and not is_optional:
        raise UserError("there is no champion yet; use model.checkpoint=base until `driveforge promote` makes one")
    return champion


def _open_registry(config: Config) -> Registry:
    return open_registry(config.run, config.tracking, config.promote.registered_as)
