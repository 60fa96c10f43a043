"""The bytes that the page loads for one clip: videos straight from the tar, source clips, sheets and overlays."""

import re
from functools import lru_cache
from threading import Lock

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.source import Source
from driveforge.datasets.video import encode_mp4
from driveforge.datasets.webdataset_shards.format import video_member
from driveforge.datasets.webdataset_shards.tar_samples import read_members
from driveforge.pipelines.generate.candidates import Candidate
from driveforge.pipelines.inputs.instruments import InstrumentsLoader
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import open_source
from driveforge.pipelines.review.clip_detail import describe_clip
from driveforge.pipelines.review.clip_table import ClipTable
from driveforge.pipelines.review.overlays import draw_overlay
from driveforge.pipelines.review.page_files import dump
from driveforge.validation.calibration import Calibration
from driveforge.validation.instruments import Instruments
from driveforge.validation.measures import measure_clip

THUMBNAIL = "thumb.jpg"
_REQUEST_END = re.compile(r"-[0-9a-f]{8}$")


class NotFound(UserError):
    """The run has no such file for this clip."""


class ClipMedia:
    """Makes the files of single clips when they are asked for, one at a time, and keeps the last ones in memory."""

    def __init__(self, table: ClipTable, data: Data, instruments: InstrumentsLoader) -> None:
        self._table, self._data, self.instruments = table, data, instruments
        self._lock, self._source_lock = Lock(), Lock()
        self._source: Source | None = None
        self._scenes: dict[str, Scene] = {}
        self._overlay = lru_cache(maxsize=256)(self._draw_overlay)
        self._sheet = lru_cache(maxsize=64)(self._draw_sheet)
        self._source_videos = lru_cache(maxsize=64)(self._encode_source)

    def read_member(self, clip_id: str, name: str) -> bytes:
        """A member of the clip's sample: a video or the thumbnail. Raises NotFound if there is none."""
        ref = self._candidate(clip_id).ref
        if name not in ref.members:
            raise NotFound(f"{clip_id} has no {name}")
        return read_members(ref.tar, {name: ref.members[name]})[name]

    def describe(self, clip_id: str) -> bytes:
        """The measures and the joint score of a clip as JSON."""
        self._candidate(clip_id)
        return dump(describe_clip(self._table.decisions[clip_id], self._table.calibration))

    def overlay(self, clip_id: str, name: str) -> bytes:
        """The overlay of the camera with the video ``name`` as JSON. Raises NotFound if there is none."""
        candidate = self._candidate(clip_id)
        if name not in list_videos(candidate):
            raise NotFound(f"{clip_id} has no {name}")
        with self._lock:
            return self._overlay(candidate.clip_id, name)

    def sheet(self, clip_id: str) -> bytes:
        """The picture of the measured clip that ``driveforge measure --pictures`` draws, as PNG."""
        candidate = self._candidate(clip_id)
        with self._lock:
            return self._sheet(candidate.clip_id)

    def source_video(self, clip_id: str, name: str) -> bytes:
        """The same video of the recorded clip that this one was generated from. Raises NotFound if there is none."""
        candidate = self._candidate(clip_id)
        with self._source_lock:
            videos = self._source_videos(source_id(candidate))
        if name not in videos:
            raise NotFound(f"the source of {clip_id} has no {name}")
        return videos[name]

    def _candidate(self, clip_id: str) -> Candidate:
        if clip_id not in self._table.decisions:
            raise NotFound("this run has no such clip")
        return self._table.decisions[clip_id].candidate

    def _draw_overlay(self, clip_id: str, name: str) -> bytes:
        return draw_overlay_file(self._candidate(clip_id).load(), name, self.instruments())

    def _draw_sheet(self, clip_id: str) -> bytes:
        return draw_sheet_file(self._candidate(clip_id), self.instruments(), self._table.calibration)

    def _encode_source(self, scene_id: str) -> dict[str, bytes]:
        if self._source is None:
            self._source = open_source(self._data)
            self._scenes = {scene.clip_id: scene for scene in self._source.scenes()}
        if scene_id not in self._scenes:
            raise NotFound(f"the data of this run has no clip {scene_id}")
        clip = self._source.load(self._scenes[scene_id])
        rate = clip.scene.frame_rate or 1.0
        return {
            video_member(camera.name): encode_mp4(frames, rate)
            for camera, frames in zip(clip.scene.cameras, clip.frames, strict=True)
        }


def draw_overlay_file(clip: Clip, name: str, instruments: Instruments) -> bytes:
    """The overlay of the camera with the video ``name`` as JSON."""
    camera = next(camera.name for camera in clip.scene.cameras if video_member(camera.name) == name)
    return dump(draw_overlay(clip, camera, instruments.tracker))


def draw_sheet_file(candidate: Candidate, instruments: Instruments, calibration: Calibration) -> bytes:
    """The clip measured again and drawn with its limits, as PNG."""
    from driveforge.pipelines.plots.measured_clip import plot_measured_clip  # takes a second to import

    clip = candidate.load()
    return plot_measured_clip(clip, measure_clip(clip, instruments), calibration)


def source_id(candidate: Candidate) -> str:
    """The id of the recorded clip that a candidate was generated from: its own without edit and request."""
    return _REQUEST_END.sub("", candidate.clip_id).removesuffix(f"-{candidate.metadata['edit']}")


def list_videos(candidate: Candidate) -> list[str]:
    """The members with the videos of a clip."""
    return [name for name in candidate.ref.members if name.endswith(".mp4")]
