"""Clips of a standing buffer whose footage is no longer what they were encoded from."""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.digests import compute_digests
from driveforge.datasets.scene import Scene
from driveforge.datasets.scene_json import scene_to_json
from driveforge.datasets.source import Source
from driveforge.replay.persistent import PersistentBuffer
from driveforge.replay.segments import Entry


def describe_footage(scenes: Iterable[Scene], source: Source, notes: Path) -> dict[str, dict[str, str]]:
    """What a clip's origin tells of its footage, by clip id: the files, their digest, and that of the description."""
    chosen = list(scenes)
    files = [source.files(scene) for scene in chosen]
    return {
        scene.clip_id: {
            "description": sha256(json.dumps(scene_to_json(scene), sort_keys=True).encode()).hexdigest(),
            "files": json.dumps([str(path.resolve()) for path in paths]),
            "content": content,
        }
        for scene, paths, content in zip(chosen, files, compute_digests(files, notes), strict=True)
    }


def find_replaced(entries: Iterable[Entry], notes: Path) -> list[Entry]:
    """Those whose files are all there, and are others than they were. Footage that is gone cannot tell."""
    origins = [(entry, entry.get("origin", {})) for entry in entries]
    told = [(entry, [Path(path) for path in json.loads(origin.get("files", "[]"))]) for entry, origin in origins]
    there = [(entry, paths) for entry, paths in told if paths and all(path.is_file() for path in paths)]
    found = compute_digests([paths for _, paths in there], notes)
    return [
        entry for (entry, _), content in zip(there, found, strict=True) if content != entry["origin"].get("content")
    ]


def require_current(buffer: PersistentBuffer, root: Path) -> None:
    """A UserError naming the source whose footage was replaced after its clips came into the buffer."""
    if stale := find_replaced(buffer.entries(), root):
        source_id = stale[0]["origin"]["place"]
        raise UserError(
            f"{root}: the footage of {len(stale)} clips was replaced since they were added, the first is "
            f"{stale[0]['clip_id']}; run `driveforge replay add {source_id}` again, or remove them"
        )
