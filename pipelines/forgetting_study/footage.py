"""Real videos in the forgetting study, cut into clips and divided by time, so that no frame is in two parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from pathlib import Path

from datasets.errors import UserError
from datasets.folder_source import VideoFolderSource
from datasets.framing import Framing
from datasets.scene import Clip, Scene

# Of the length of every driving video, from and to: what is trained on, chosen by, and judged on.
TRAINED, CHOSEN, JUDGED = (0.0, 0.5), (0.5, 0.7), (0.7, 1.0)


@dataclass(frozen=True, kw_only=True)
class Footage:
    """A source of the clips of some video files: of ``domain``, or each of one that is named after its folder."""

    videos: tuple[Path, ...]
    framing: Framing
    domain: str | None = None

    def __len__(self) -> int:
        return len(self.scenes())

    def scenes(self) -> Sequence[Scene]:
        return [scene for source in self._sources for scene in source.scenes()]

    def load(self, scene: Scene) -> Clip:
        (source,) = (s for s in self._sources if any(other.clip_id == scene.clip_id for other in s.scenes()))
        return source.load(scene)

    @cached_property
    def _sources(self) -> list[VideoFolderSource]:
        if missing := [video for video in self.videos if not video.is_file()]:
            raise UserError(f"{missing[0]}: no such video")
        return [
            # Under the folder above, clips are named after the video's own folder too: many are called alike.
            VideoFolderSource(
                video.parent.parent,
                self.framing,
                self.domain or domain_of(video),
                pattern=f"{escape(video.parent.name)}/{escape(video.name)}",
            )
            for video in self.videos
        ]


def domain_of(video: Path) -> str:
    return video.parent.name.lower()


def within(scenes: Sequence[Scene], part: tuple[float, float]) -> list[Scene]:
    """The scenes that lie in a part of the time of their video; all scenes of the videos must be given."""
    ends: dict[str, float] = {}
    for scene in scenes:
        ends[scene.source] = max(ends.get(scene.source, 0.0), float(scene.timestamps[-1]))
    return [scene for scene in scenes if _lies_in(scene, part[0] * ends[scene.source], part[1] * ends[scene.source])]


def _lies_in(scene: Scene, first: float, last: float) -> bool:
    return bool(first <= scene.timestamps[0] and scene.timestamps[-1] <= last)
