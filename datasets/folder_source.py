"""Folders of video as a source of clips, with or without scene descriptions.

A folder with ``scene.json`` is one recording: the video of each camera is ``<camera>.mp4``; with a single camera, any
single video. Every other video is a recording with one camera, optionally described by ``<stem>.scene.json`` next to
it. Without a description, calibration and poses are unknown and timestamps are those of the video.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.atomic_folder import atomic_folder
from driveforge.datasets.framing import Framing
from driveforge.datasets.reframe import clip_windows, reframe_camera, reframe_frames
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.scene_json import read_scene_json, scene_to_json
from driveforge.datasets.select_frames import select_frames
from driveforge.datasets.source import Item
from driveforge.datasets.video import VideoInfo, encode_mp4, read_frames, read_video_info
from driveforge.datasets.video_files import (
    SCENE_FILE,
    VIDEO_SUFFIXES,
    describe_unsupported,
    find_descriptions,
    find_unsupported,
    find_videos,
    list_videos,
    make_clip_id,
    make_clip_ids,
    printable,
)
from driveforge.datasets.webdataset_shards.format import video_member

# A clip is held in memory by each worker process, one per core.
MAX_PIXEL_BYTES = 4 * 2**30


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Recording:
    """A recorded scene with one video per camera."""

    scene: Scene
    videos: tuple[VideoInfo, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _VideoWindow:
    """The frames ``indices`` of a recording, which form one clip."""

    scene: Scene
    recording: _Recording
    indices: NDArray[np.int64]


class VideoFolderSource:
    """Clips from all videos under ``root``, or those that match the glob ``pattern``, converted to ``framing``.

    Without a framing, every video is one clip at its native size and frame rate. ``domain`` overrides the domain of
    descriptions; the default is "video". Videos that are too short or of another format are skipped, and ``skipped``
    holds one line about each kind. Raises UserError naming a file that is missing, truncated or invalid, or ``root`` if
    it has no usable video.
    """

    def __init__(
        self, root: Path, framing: Framing | None, domain: str | None = None, *, pattern: str | None = None
    ) -> None:
        self._framing = framing
        self._windows: dict[str, _VideoWindow] = {}
        recordings = [_override_domain(recording, domain) for recording in _find_recordings(root, pattern)]
        too_short = []
        for recording in recordings:
            windows = list(_windows(recording, framing))
            too_short += [] if windows else [recording.videos[0].path]
            for window in windows:
                other = self._windows.setdefault(window.scene.clip_id, window)
                if other is not window:
                    first, second = other.recording.videos[0].path, recording.videos[0].path
                    raise UserError(f"{first} and {second} both have the id {window.scene.clip_id}: rename one")
        self.skipped = tuple(_describe_skipped(too_short, [] if pattern else find_unsupported(root)))
        if not self._windows:
            raise UserError(_no_clips_message(root, len(recordings), pattern, framing))

    def __len__(self) -> int:
        return len(self._windows)

    def scenes(self) -> Sequence[Scene]:
        return [window.scene for window in self._windows.values()]

    def files(self, scene: Scene) -> Sequence[Path]:
        return [video.path for video in self._window(scene).recording.videos]

    def load(self, scene: Scene) -> Clip:
        """The pixels of the clip ``scene.clip_id``, with ``scene`` itself, which may be edited."""
        window = self._window(scene)
        return _load_clip(scene, window.recording.videos, window.indices, self._framing)

    def _window(self, scene: Scene) -> _VideoWindow:
        if scene.clip_id not in self._windows:
            raise UserError(f"no clip {scene.clip_id!r} in this video folder")
        return self._windows[scene.clip_id]


def load_clip(path: Path) -> Clip:
    """The clip of a folder with ``scene.json``, or of a single video file.

    Raises UserError as ``VideoFolderSource`` does, and if the pixels exceed ``MAX_PIXEL_BYTES``.
    """
    if path.is_dir() and (path / SCENE_FILE).exists():
        recording = _recording_from_description(path / SCENE_FILE, list_videos(path))
    else:
        recording = _read_recording(path, make_clip_id(path.stem), [path])
    scene = recording.scene
    return _load_clip(scene, recording.videos, np.arange(scene.num_frames), None)


def list_items(path: Path) -> list[Item]:
    """Every clip folder under ``path``, and every other video; nothing is opened before it is loaded."""
    if path.is_file():
        return [Item(name=path.stem, loader=_load_video, arguments=(path, make_clip_id(path.stem)))]
    videos = find_videos(path)
    clip_ids = make_clip_ids(video.relative_to(path) for video in videos)
    items: list[Item] = []
    described: set[Path] = set()
    for found in sorted([*videos, *find_descriptions(path)]):
        folder, inside = found.parent, found.relative_to(path)
        if not (folder / SCENE_FILE).exists():
            name = inside.with_suffix("").as_posix()
            items.append(Item(name=name, loader=_load_video, arguments=(found, clip_ids[inside])))
        elif folder not in described:
            described.add(folder)
            items.append(Item(name=folder.name, loader=load_clip, arguments=(folder,)))
    return items


def _load_video(video: Path, clip_id: str) -> Clip:
    """The clip of one video, with the given ``clip_id`` unless a description names it."""
    clip = load_clip(video)
    is_described = clip.scene.source != printable(video)
    return clip if is_described else clip.with_scene(clip_id=clip_id)


def _load_clip(scene: Scene, videos: Sequence[VideoInfo], indices: NDArray[np.int64], framing: Framing | None) -> Clip:
    height, width = (framing.height, framing.width) if framing else (videos[0].height, videos[0].width)
    shape = (len(videos), len(indices), height, width, 3)
    if math.prod(shape) > MAX_PIXEL_BYTES:
        raise UserError(
            f"{videos[0].path}: {len(indices)} frames of {width}x{height} are {math.prod(shape) / 2**30:.0f} GiB, too "
            "large for one clip; cut the video (ffmpeg -i IN -c copy -f segment -segment_time 10 OUT%03d.mp4)"
        )
    frames = np.empty(shape, np.uint8)
    for view, video in zip(frames, videos, strict=True):
        for target, image in zip(view, read_frames(video, indices), strict=True):
            target[:] = image if framing is None else reframe_frames(image[None], height, width)[0]
    return Clip(scene=scene, frames=frames)


def write_clip_folder(root: Path, clip: Clip) -> Path:
    """Write ``root/<clip_id>/{<camera>.mp4, scene.json}`` and return that folder; ``VideoFolderSource`` reads it back.

    Raises UserError if the folder exists.
    """
    folder = root / clip.scene.clip_id
    with atomic_folder(folder) as scratch:
        for camera, frames in zip(clip.scene.cameras, clip.frames, strict=True):
            write_atomic(scratch / video_member(camera.name), encode_mp4(frames, clip.scene.frame_rate or 1.0))
        write_atomic(scratch / SCENE_FILE, json.dumps(scene_to_json(clip.scene)).encode() + b"\n")
    return folder


def _describe_skipped(too_short: Sequence[Path], unsupported: Sequence[Path]) -> Iterator[str]:
    if too_short:
        yield f"{len(too_short)} videos are too short for a clip, the first is {printable(too_short[0])}"
    if unsupported:
        yield describe_unsupported(unsupported)


def _no_clips_message(root: Path, num_videos: int, pattern: str | None, framing: Framing | None) -> str:
    if num_videos and framing:
        expected = f"{framing.num_frames} frames at {framing.frame_rate:g} Hz"
        return f"{root}: {num_videos} videos, none long enough for {expected}; lower data.num_frames (to 1 + 4k)"
    return f"{root}: no video matches {pattern or ', '.join(f'*{suffix}' for suffix in VIDEO_SUFFIXES)}"


def _find_recordings(root: Path, pattern: str | None) -> Iterator[_Recording]:
    if not root.is_dir():
        raise UserError(f"{root}: no such video folder")
    found = sorted(root.rglob(pattern)) if pattern else find_videos(root)
    ids = make_clip_ids(path.relative_to(root) for path in found)
    described: set[Path] = set()
    for path in found:
        clip_id = ids[path.relative_to(root)]
        if not (path.parent / SCENE_FILE).exists():
            yield _read_recording(path, clip_id, [path])
        elif path.parent not in described:
            described.add(path.parent)
            siblings = sorted(path.parent.glob(pattern)) if pattern else list_videos(path.parent)
            yield _read_recording(path, clip_id, siblings)


def _read_recording(path: Path, clip_id: str, found: Sequence[Path]) -> _Recording:
    """The recording that ``path`` belongs to.

    ``found`` are the selected videos of its folder; ``clip_id`` is used for a video without a description.
    """
    for description in (path.parent / SCENE_FILE, path.with_name(f"{path.stem}.{SCENE_FILE}")):
        if description.exists():
            return _recording_from_description(description, found)
    return _recording_from_video(path, clip_id)


def _recording_from_description(description: Path, found: Sequence[Path]) -> _Recording:
    scene = read_scene_json(description)
    if len(scene.cameras) == 1 and len(found) == 1:
        paths = [found[0]]
    else:
        by_name = {path.name.lower(): path for path in found}
        members = [video_member(camera.name) for camera in scene.cameras]
        paths = [by_name.get(member, description.parent / member) for member in members]
    videos = tuple(read_video_info(path) for path in paths)
    for camera, video in zip(scene.cameras, videos, strict=True):
        actual, expected = (len(video.pts), video.width, video.height), (scene.num_frames, camera.width, camera.height)
        if actual != expected:
            raise UserError(
                f"{video.path}: {actual[0]} frames of {actual[1]}x{actual[2]}, but {description.name} says "
                f"{expected[0]} of {expected[1]}x{expected[2]} for camera {camera.name}"
            )
    return _Recording(scene=scene, videos=videos)


def _recording_from_video(path: Path, clip_id: str) -> _Recording:
    video = read_video_info(path)
    try:
        scene = Scene(
            clip_id=clip_id,
            domain="video",
            timestamps=video.timestamps,
            cameras=(Camera(name="camera", width=video.width, height=video.height),),
            source=printable(path),
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return _Recording(scene=scene, videos=(video,))


def _override_domain(recording: _Recording, domain: str | None) -> _Recording:
    return replace(recording, scene=replace(recording.scene, domain=domain)) if domain else recording


def _windows(recording: _Recording, framing: Framing | None) -> Iterator[_VideoWindow]:
    scene = recording.scene
    if framing is None:
        yield _VideoWindow(scene=scene, recording=recording, indices=np.arange(scene.num_frames))
        return
    for number, indices in enumerate(clip_windows(framing, scene.timestamps)):
        if indices[0] < scene.num_frames - scene.held_frames:
            clip_id = f"{scene.clip_id}-{number:04d}"
            yield _VideoWindow(
                scene=_select_scene(scene, indices, framing, clip_id), recording=recording, indices=indices
            )


def _select_scene(scene: Scene, indices: NDArray[np.int64], framing: Framing, clip_id: str) -> Scene:
    """``scene`` at the frames ``indices`` with reframed cameras, without tracks that are never present."""
    window = select_frames(scene, indices)
    return replace(
        window,
        clip_id=clip_id,
        cameras=tuple(reframe_camera(camera, framing.height, framing.width) for camera in window.cameras),
        tracks=tuple(track for track in window.tracks if track.present.any()),
    )
