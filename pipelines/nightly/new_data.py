"""Which training clips are new: found by their content, not by the names or dates of their files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.digests import compute_digests
from driveforge.datasets.progress import show_status
from driveforge.datasets.scene import Scene
from driveforge.datasets.scene_json import scene_to_json
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import open_source, training_indices

# Keys of a scene that change when its files are renamed or moved.
_NAMES = ("clip_id", "source")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingClips:
    """The digests of all training clips, sorted, and the digest of the list."""

    digests: list[str]

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.digests).encode()).hexdigest()[:16]

    def count_new(self, known: set[str]) -> int:
        return sum(clip not in known for clip in self.digests)


def find_training_clips(data: Data, digests: Path) -> TrainingClips:
    """The clips of ``data`` that are not held out; digests of files are cached in the folder ``digests``."""
    with show_status("Looking for new data"):
        source = open_source(data)
        scenes = list(source.scenes())
        scenes = [scenes[n] for n in training_indices(scenes)]
        contents = compute_digests([source.files(scene) for scene in scenes], digests)
    if not scenes:
        raise UserError("the driving data has no clip to train on")
    return TrainingClips(digests=_digest_clips(scenes, contents))


def _digest_clips(scenes: Sequence[Scene], contents: Sequence[str]) -> list[str]:
    """The sorted digests of clips: of their annotations and of their footage."""
    found = []
    for scene, content in zip(scenes, contents, strict=True):
        record = {key: value for key, value in scene_to_json(scene).items() if key not in _NAMES}
        text = json.dumps([record, content], sort_keys=True)
        found.append(hashlib.sha256(text.encode()).hexdigest()[:32])
    return sorted(found)
