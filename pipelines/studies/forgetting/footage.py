"""Real videos in the forgetting study, cut into clips and split by time, so that no frame is in two parts."""

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

# Start and end of each part, as shares of the length of a video.
TRAIN_PART, VALIDATION_PART, TEST_PART = (0.0, 0.5), (0.5, 0.7), (0.7, 1.0)
FULL_PART = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class FootageSource:
    """A source of the clips in a ``part`` of some videos, of ``domain``, or of the name of the video's folder.

    Timestamps are the nominal ones of the framing. If the rate of a video is not a multiple of the framing's rate, the
    nearest frames have uneven timestamps, and Frechet distances refuse sets of different rates.
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
        """The recorded scene and the source of every clip; raises UserError if there are no clips."""
        origins = {
            scene.clip_id: (scene, source)
            for source in map(self._open_source, self.videos)
            for scene in _within(source.scenes(), self.part)
        }
        if not origins:
            first, last = (f"{share:.0%}" for share in self.part)
            raise UserError(
                f"{self.videos[0]}: no complete clip within {first} to {last} of the video; use longer videos"
            )
        return origins

    def _open_source(self, video: Path) -> VideoFolderSource:
        if not video.is_file():
            raise UserError(f"{video}: no such video")
        # From the parent folder, so that clip ids include the video's folder: many videos have the same file name.
        pattern = f"{escape(video.parent.name)}/{escape(video.name)}"
        return VideoFolderSource(
            video.parent.parent, self.framing, self.domain or folder_domain(video), pattern=pattern
        )

    def _with_nominal_timestamps(self, scene: Scene) -> Scene:
        return replace(scene, timestamps=scene.timestamps[0] + np.arange(scene.num_frames) / self.framing.frame_rate)


def folder_domain(video: Path) -> str:
    return video.parent.name.lower()


def _within(scenes: Sequence[Scene], part: tuple[float, float]) -> list[Scene]:
    """The scenes that are completely within a part of the video."""
    first, last = (share * max(float(scene.timestamps[-1]) for scene in scenes) for share in part)
    return [scene for scene in scenes if first <= scene.timestamps[0] and scene.timestamps[-1] <= last]
