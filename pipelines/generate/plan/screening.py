"""Screening of the scenes to generate from, by their frames: no near-duplicates of each other, no leaks across splits.

Frames are hashed when the first frames of a scene are stored, so every clip is read once. Three frames of each camera
are compared with all frames of the others: an overlap of two clips shows in one of them.

Scenes of evaluation splits are read too, but no more of them than the plan has clips, spread over all; the image tokens
of all are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from driveforge.datasets.near_duplicates import HASH_BYTES, Hashes, find_nearest, hash_frames
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.source import Source
from driveforge.datasets.stores.opening import open_store, share
from driveforge.pipelines.generate.requests import FIRST_FRAMES_FOLDER, store_first_frames
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.source_frames import SourceFrames

# A scene is a near-duplicate of earlier ones if at least this share of the compared frames is.
_DUPLICATE_SHARE = 0.5


@dataclass(slots=True)
class Screened:
    """Clip ids of scenes that are left out: near-duplicates of an earlier scene, or of one that is held out."""

    duplicates: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    # How many scenes of evaluation splits were read, of how many.
    num_compared: int = 0
    num_held_out: int = 0


class SceneScreening:
    """Reads each scene of ``source`` once: stores its first frames and hashes under ``root``, and compares it.

    ``held_out`` are the scenes of evaluation splits, from which nothing is generated; empty if they are not compared.
    Rendered scenes, which have no files, are never the same, and are not compared; no scene is unless ``is_on``.
    """

    def __init__(
        self, source: Source, root: Path, settings: GenerateSettings, held_out: Sequence[Scene], *, is_on: bool
    ) -> None:
        self._source, self._root, self._settings, self._held_out = source, root, settings, held_out
        self._is_on = is_on
        self._source_frames = SourceFrames(root)
        self._names: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._seen = _FrameHashes()
        self._held_out_frames: _FrameHashes | None = None
        self._held_out_tokens = {token for scene in held_out for token in _image_tokens(scene)} if is_on else set()
        self.screened = Screened(num_held_out=len(held_out))

    def store_first_frames(self, scene: Scene) -> str:
        """Store the first frames of ``scene``; returns their name."""
        if scene.clip_id not in self._names:
            self._read(scene)
        return self._names[scene.clip_id]

    def refusal(self, scene: Scene) -> str:
        """Why nothing is generated from ``scene``; "" if it may be."""
        if not self._is_on or not self._source.files(scene):
            return ""
        if scene.clip_id not in self._reasons:
            self._reasons[scene.clip_id] = self._compare(scene, self._read(scene))
        return self._reasons[scene.clip_id]

    def _read(self, scene: Scene) -> Clip:
        clip = self._source.load(scene)
        self._source_frames.add(scene, clip.frames)
        first = clip.frames[:, : self._settings.num_first_frames]
        name = store_first_frames(self._root / FIRST_FRAMES_FOLDER, first)
        share(open_store(self._root), f"{FIRST_FRAMES_FOLDER}/{name}")
        self._names[scene.clip_id] = name
        return clip

    def _compare(self, scene: Scene, clip: Clip) -> str:
        frames = _hash(clip, sorted({0, (scene.num_frames - 1) // 2, scene.num_frames - 1}))
        if self._held_out_frames is None:
            self._held_out_frames = self._read_held_out()
        if self._held_out_frames.matches(frames).any() or self._held_out_tokens.intersection(_image_tokens(scene)):
            self.screened.leaks.append(scene.clip_id)
            return f"{scene.clip_id} shows frames of an evaluation split"
        if self._seen.matches(frames).mean() >= _DUPLICATE_SHARE:
            self.screened.duplicates.append(scene.clip_id)
            return f"{scene.clip_id} is a near-duplicate of another scene"
        self._seen.add(_hash(clip))
        return ""

    def _read_held_out(self) -> "_FrameHashes":
        hashes = _FrameHashes()
        count = min(len(self._held_out), self._settings.num_clips)
        chosen = [self._held_out[number * len(self._held_out) // count] for number in range(count)]
        for scene in track(chosen, "Reading evaluation scenes", disable=not chosen):
            hashes.add(_hash(self._source.load(scene)))
        self.screened.num_compared = count
        return hashes


class _FrameHashes:
    """Hashes of frames, in an array that doubles."""

    def __init__(self) -> None:
        self._rows, self._count = np.zeros((64, HASH_BYTES), np.uint8), 0

    def add(self, hashes: Hashes) -> None:
        while self._count + len(hashes) > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count : self._count + len(hashes)] = hashes
        self._count += len(hashes)

    def matches(self, frames: Hashes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which of ``frames`` are near-duplicates of these."""
        if not self._count:
            return np.zeros(len(frames), bool)
        return np.array([nearest.is_near_duplicate for nearest in find_nearest(frames, self._rows[: self._count])])


def _image_tokens(scene: Scene) -> set[str]:
    """The tokens of the recorded images, of sources that have tables."""
    return {token for camera in scene.cameras for token in camera.image_tokens or () if token}


def _hash(clip: Clip, frames: Sequence[int] | slice = slice(None)) -> Hashes:
    """The hashes of ``frames``, by default all, of every camera."""
    return np.concatenate([hash_frames(view[frames]) for view in clip.frames])
