"""Detects clips of a persistent buffer whose footage has changed since they were encoded."""

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


def describe_footage(scenes: Iterable[Scene], source: Source, cache_folder: Path) -> dict[str, dict[str, str]]:
    """By clip id, what an origin records: the files, their digest, and the digest of the description.

    Digests of files are cached in ``cache_folder``.
    """
    chosen = list(scenes)
    files = [source.files(scene) for scene in chosen]
    return {
        scene.clip_id: {
            "description": sha256(json.dumps(scene_to_json(scene), sort_keys=True).encode()).hexdigest(),
            "files": json.dumps([str(path.resolve()) for path in paths]),
            "content": content,
        }
        for scene, paths, content in zip(chosen, files, compute_digests(files, cache_folder), strict=True)
    }


def find_replaced(entries: Iterable[Entry], cache_folder: Path) -> list[Entry]:
    """The entries whose files all exist but have another content. Deleted footage is not reported."""
    recorded = [
        (entry, [Path(path) for path in json.loads(entry.get("origin", {}).get("files", "[]"))]) for entry in entries
    ]
    present = [(entry, paths) for entry, paths in recorded if paths and all(path.is_file() for path in paths)]
    digests = compute_digests([paths for _, paths in present], cache_folder)
    return [
        entry for (entry, _), content in zip(present, digests, strict=True) if content != entry["origin"].get("content")
    ]


def require_current(buffer: PersistentBuffer, root: Path) -> None:
    """Raise UserError if footage was replaced after its clips were added to the buffer."""
    if stale := find_replaced(buffer.entries(), root):
        source_id = stale[0]["origin"]["place"]
        raise UserError(
            f"{root}: the footage of {len(stale)} clips was replaced after they were added, the first is "
            f"{stale[0]['clip_id']}; run `driveforge replay add {source_id}` again, or remove them"
        )
