"""Hashes of the recorded frames that a run generates from, to find clips that repeat them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.near_duplicates import HASH_BYTES, Hashes, hash_frames
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.stores.opening import open_store

SOURCE_FRAMES_FOLDER = "source_frames"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RecordedFrames:
    """The frames of the recorded clips of a run: ``hashes`` ``(N, 32)``, and the clip, camera and frame of each."""

    hashes: Hashes
    places: tuple[tuple[str, str, int], ...]


class SourceFrames:
    """Hashes of recorded clips under ``root``, in a file per clip."""

    def __init__(self, root: Path) -> None:
        self._store = open_store(root)

    def add(self, scene: Scene, frames: NDArray[np.uint8]) -> None:
        """Record ``frames`` ``(V, T, H, W, 3)`` of the recorded ``scene``."""
        record = hash_clip(Clip(scene=scene, frames=frames))
        self._store.write(f"{SOURCE_FRAMES_FOLDER}/{scene.clip_id}.json", json.dumps(record).encode())


def hash_clip(clip: Clip) -> dict[str, list[str]]:
    """The hash of every frame in hexadecimal, by camera."""
    return {
        camera.name: [row.tobytes().hex() for row in hash_frames(view)]
        for camera, view in zip(clip.scene.cameras, clip.frames, strict=True)
    }


def read_source_frames(root: Path) -> RecordedFrames:
    """All recorded frames of the run with candidates in ``root``; none if it was made by an older version."""
    hashes, places, store = [], [], open_store(root)
    names = sorted(name for name in store.names(SOURCE_FRAMES_FOLDER) if name.endswith(".json"))
    contents = store.read_all(f"{SOURCE_FRAMES_FOLDER}/{name}" for name in names)
    for name, content in zip(names, contents, strict=True):
        for camera, rows in json.loads(content).items():
            hashes += [parse_hash(row) for row in rows]
            places += [(name.removesuffix(".json"), camera, t) for t in range(len(rows))]
    return RecordedFrames(hashes=np.array(hashes, np.uint8).reshape(-1, HASH_BYTES), places=tuple(places))


def parse_hash(text: str) -> Hashes:
    return np.frombuffer(bytes.fromhex(text), np.uint8)
