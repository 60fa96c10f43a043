"""Where a model is: the checkpoint that ships with the project, a folder of the user's, or the champion."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import driveforge
from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import create_file
from driveforge.datasets.files.json_record import read_json, read_record
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, open_registry
from driveforge.pipelines.tracking.store import find_store

# Beside the weights of a fine-tuned model: all that decided them.
LINEAGE = "lineage.json"
CHAMPION_OR_BASE = "champion-or-base"
BASE = Path(driveforge.__file__).parent / "finetune" / "base"


def resolve_checkpoint(config: Config) -> Path:
    """The folder of ``model.checkpoint``; a UserError where it holds no world model, or where there is no champion."""
    checkpoint = config.model.checkpoint
    if checkpoint in (CHAMPION, CHAMPION_OR_BASE):
        champion = _find_champion(config)
        folder = _folder(config, open_registry(config), champion) if champion else BASE
    else:
        folder = BASE if checkpoint == "base" else Path(checkpoint)
    if not (folder / "world_model.json").is_file():
        raise UserError(f"model.checkpoint={checkpoint}: {folder} holds no world_model.json; use base or a saved model")
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class _InitialChampion:
    """Whoever was champion when a run began; nobody where ``version`` is None."""

    version: str | None = None
    digest: str = ""


def read_lineage(folder: Path) -> dict[str, Any]:
    """What the model in ``folder`` was made from, empty where it does not tell; a UserError where it is no lineage."""
    path = folder / LINEAGE
    if not path.is_file():
        return {}
    lineage = read_json(path, advice := "take an unharmed copy of the model")
    if not isinstance(lineage, dict):
        raise UserError(f"{path}: must be an object, got {type(lineage).__name__}; {advice}")
    return lineage


def resolve_start_checkpoint(config: Config) -> Path:
    """The folder of ``model.checkpoint`` for a fine-tune, which goes on from what it began with.

    Whoever was champion when a run began is noted in ``<run_dir>/champion.json``, and stays its start; so does the base
    where there was none.
    """
    if config.model.checkpoint not in (CHAMPION, CHAMPION_OR_BASE):
        return resolve_checkpoint(config)
    record_path = config.run.starting_champion
    if not record_path.exists():
        champion = _find_champion(config)
        initial = _InitialChampion(version=champion.number, digest=champion.digest) if champion else _InitialChampion()
        create_file(record_path, json.dumps(asdict(initial)).encode() + b"\n")
    number = read_record(record_path, _InitialChampion, "delete it to start from the champion of today").version
    if number is None:
        return BASE
    registry = open_registry(config)
    version = registry.version(number)
    if version is None:
        raise UserError(
            f"{record_path} names version {number}, which was deleted from the registry; begin in another run_dir"
        )
    return _folder(config, registry, version)


def _find_champion(config: Config) -> Version | None:
    """The champion; where there is none yet, None if that was allowed for, else a UserError."""
    is_optional = config.model.checkpoint == CHAMPION_OR_BASE
    if is_optional and not find_store(config.run, config.tracking).exists:
        return None
    champion = open_registry(config).alias(CHAMPION)
    if champion is None and not is_optional:
        raise UserError("there is no champion yet; use model.checkpoint=base until `driveforge promote` made one")
    return champion


def _folder(config: Config, registry: Registry, version: Version) -> Path:
    return registry.folder(version, config.run.champions)
