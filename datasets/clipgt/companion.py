"""``<clip>.driveforge.json``: what ClipGT has no column for, so that our clips come back as they were.

It holds the scene without ego poses, tracks and lanes, the categories of its tracks, and ``first_ego_to_world``, the
pose of the ClipGT world in the scene's. Readers of ClipGT ignore it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.geometry import Array, is_rigid
from driveforge.datasets.scene import Scene
from driveforge.datasets.scene_json import scene_from_json, scene_to_json

COMPANION_SUFFIX = "driveforge.json"
_SCHEMA_VERSION = 1
_HINT = "delete it to read the ClipGT files alone"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Companion:
    """``description`` is the scene without poses; ``categories`` are those of its tracks, by id."""

    description: Scene
    first_ego_to_world: Array
    categories: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    schema_version: int
    description: dict[str, Any]
    first_ego_to_world: tuple[tuple[float, ...], ...]
    categories: dict[str, str]


def companion_json(scene: Scene) -> bytes:
    assert scene.ego_to_world is not None
    record = {
        "schema_version": _SCHEMA_VERSION,
        "description": scene_to_json(replace(scene, ego_to_world=None, tracks=(), lanes=())),
        "first_ego_to_world": scene.ego_to_world[0].tolist(),
        "categories": {track.id: track.category for track in scene.tracks},
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"


def read_companion(path: Path) -> Companion | None:
    """The companion file ``path``, None if there is none; raises UserError naming the key that is wrong."""
    if not path.exists():
        return None
    record = read_record(path, _Record, _HINT)
    if record.schema_version != _SCHEMA_VERSION:
        raise UserError(f"{path}: schema_version {record.schema_version} is not known; {_HINT}")
    world = np.array(record.first_ego_to_world, np.float64)
    if world.shape != (4, 4) or not is_rigid(world):
        raise UserError(f"{path}: first_ego_to_world must be a rigid 4 x 4 pose; {_HINT}")
    return Companion(
        description=scene_from_json(record.description, f"{path}: description"),
        first_ego_to_world=world,
        categories=record.categories,
    )
