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
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, registry_of
from driveforge.pipelines.tracking.store import find_store

# Beside the weights of a fine-tuned model: all that decided them.
LINEAGE = "lineage.json"
CHAMPION_OR_BASE = "champion-or-base"
BASE = Path(driveforge.__file__).parent / "finetune" / "base"


def checkpoint_of(config: Config) -> Path:
    """The folder of ``model.checkpoint``; a UserError where it holds no world model, or where there is no champion."""
    named = config.model.checkpoint
    if named in (CHAMPION, CHAMPION_OR_BASE):
        champion = _champion(config)
        folder = _folder(config, registry_of(config), champion) if champion else BASE
    else:
        folder = BASE if named == "base" else Path(named)
    if not (folder / "world_model.json").is_file():
        raise UserError(f"model.checkpoint={named}: {folder} holds no world_model.json; use base or a saved model")
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class _Beginning:
    """Whoever was champion when a run began; nobody where ``version`` is None."""

    version: str | None = None
    digest: str = ""


def lineage_in(folder: Path) -> dict[str, Any]:
    """What the model in ``folder`` was made from, empty where it does not tell; a UserError where it is no lineage."""
    path = folder / LINEAGE
    if not path.is_file():
        return {}
    lineage = read_json(path, advice := "take an unharmed copy of the model")
    if not isinstance(lineage, dict):
        raise UserError(f"{path}: must be an object, got {type(lineage).__name__}; {advice}")
    return lineage


def start_of(config: Config) -> Path:
    """The folder of ``model.checkpoint`` for a fine-tune, which goes on from what it began with.

    Whoever was champion when a run began is noted in ``<run_dir>/champion.json``, and stays its start; so does the base
    where there was none.
    """
    if config.model.checkpoint not in (CHAMPION, CHAMPION_OR_BASE):
        return checkpoint_of(config)
    note = config.run.starting_champion
    if not note.exists():
        champion = _champion(config)
        began = _Beginning(version=champion.number, digest=champion.digest) if champion else _Beginning()
        create_file(note, json.dumps(asdict(began)).encode() + b"\n")
    number = read_record(note, _Beginning, "delete it to start from the champion of today").version
    if number is None:
        return BASE
    registry = registry_of(config)
    version = registry.version(number)
    if version is None:
        raise UserError(f"{note} names version {number}, which was deleted from the registry; begin in another run_dir")
    return _folder(config, registry, version)


def _champion(config: Config) -> Version | None:
    """The champion; where there is none yet, None if that was allowed for, else a UserError."""
    may_be_none = config.model.checkpoint == CHAMPION_OR_BASE
    if may_be_none and not find_store(config.run, config.tracking).exists:
        return None
    champion = registry_of(config).alias(CHAMPION)
    if champion is None and not may_be_none:
        raise UserError("there is no champion yet; use model.checkpoint=base until `driveforge promote` made one")
    return champion


def _folder(config: Config, registry: Registry, version: Version) -> Path:
    return registry.folder(version, config.run.champions)
