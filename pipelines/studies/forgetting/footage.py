"""Real videos in the forgetting study, cut into clips and divided by time, so that no frame is in two parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from glob import escape
from pathlib import Path

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import VideoFolderSource
from driveforge.datasets.framing import Framing
from driveforge.datasets.scene import Clip, Scene

# Of the length of every video, from and to: what is trained on, chosen by, and judged on.
TRAIN_PART, VALIDATION_PART, TEST_PART = (0.0, 0.5), (0.5, 0.7), (0.7, 1.0)
FULL_PART = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class FootageSource:
    """A source of the clips in a ``part`` of the time of some videos: of ``domain``, or each of its folder's name.

    Clips keep the times that their frames stand for. Frames nearest to the framing's rate come at uneven times where a
    video's own rate is no multiple of it, and Frechet distances refuse sets of several rates.
    """

    videos: tuple[Path, ...]
    framing: Framing
    domain: str | None = None
    part: tuple[float, float] = FULL_PART

    @property
    def skipped(self) -> Sequence[str]:
        return ()

    def __len__(self) -> int:
        return len(self._origins)

    def scenes(self) -> Sequence[Scene]:
        return [self._with_nominal_timestamps(scene) for scene, _ in self._origins.values()]

    def files(self, scene: Scene) -> Sequence[Path]:
        _, source = self._origins[scene.clip_id]
        return source.files(scene)

    def load(self, scene: Scene) -> Clip:
        _, source = self._origins[scene.clip_id]
        return source.load(scene)

    @cached_property
    def _origins(self) -> dict[str, tuple[Scene, VideoFolderSource]]:
        """Every clip's scene as it was recorded, and the source that has it; a UserError where there is none."""
        origins = {
            scene.clip_id: (scene, source)
            for source in map(self._open_source, self.videos)
            for scene in _within(source.scenes(), self.part)
        }
        if not origins:
            first, last = (f"{share:.0%}" for share in self.part)
            raise UserError(
                f"{self.videos[0]}: no whole clip lies in {first} to {last} of its time; give longer videos"
            )
        return origins

    def _open_source(self, video: Path) -> VideoFolderSource:
        if not video.is_file():
            raise UserError(f"{video}: no such video")
        # Under the folder above, clips are named after the video's own folder too: many are called alike.
        pattern = f"{escape(video.parent.name)}/{escape(video.name)}"
        return VideoFolderSource(
            video.parent.parent, self.framing, self.domain or folder_domain(video), pattern=pattern
        )

    def _with_nominal_timestamps(self, scene: Scene) -> Scene:
        return replace(scene, timestamps=scene.timestamps[0] + np.arange(scene.num_frames) / self.framing.frame_rate)


def folder_domain(video: Path) -> str:
    return video.parent.name.lower()


def _within(scenes: Sequence[Scene], part: tuple[float, float]) -> list[Scene]:
    """Those of all scenes of one video that lie in a part of its time."""
    first, last = (share * max(float(scene.timestamps[-1]) for scene in scenes) for share in part)
    return [scene for scene in scenes if first <= scene.timestamps[0] and scene.timestamps[-1] <= last]
