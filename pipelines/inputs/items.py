"""Clips of any origin under a path, each of which can be loaded, or fail to, by itself.

Sources refuse a data set as soon as one file in it is wrong. Who measures a set wants the good clips and a line for
each bad one, so here every item opens no more than it needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import VideoFolderSource, load_clip
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.reframe import reframe_camera, reframe_frames
from driveforge.datasets.scene import Clip
from driveforge.datasets.source import Source
from driveforge.datasets.video_files import (
    SCENE_FILE,
    VIDEO_SUFFIXES,
    find_descriptions,
    find_videos,
    make_clip_id,
    make_clip_ids,
    printable,
)
from driveforge.datasets.webdataset_shards.format import clip_from_members
from driveforge.datasets.webdataset_shards.source import has_shards, list_tars
from driveforge.datasets.webdataset_shards.tar_samples import read_members, scan_tar
from driveforge.pipelines.console import print_result


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderItem:
    """A clip folder: videos that ``scene.json`` describes."""

    name: str
    folder: Path

    def load(self) -> Clip:
        return load_clip(self.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoItem:
    """One video by itself; ``<stem>.scene.json`` beside it may describe it, else its clip is called ``clip_id``."""

    name: str
    video: Path
    clip_id: str

    def load(self) -> Clip:
        clip = load_clip(self.video)
        is_described = clip.scene.source != printable(self.video)
        return clip if is_described else clip.with_scene(clip_id=self.clip_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class TarItem:
    """A sample of a shard; without a ``key`` a shard that could not be listed, which ``load`` explains."""

    tar: Path
    key: str = ""

    @property
    def name(self) -> str:
        return f"{self.tar.name}/{self.key}".rstrip("/")

    def load(self) -> Clip:
        return clip_from_members(read_members(self.tar, scan_tar(self.tar)[self.key]), self.name)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class NuScenesItem:
    """A whole scene through one camera, key frames and sweeps at their own rate, brought to ``height`` rows."""

    name: str
    root: Path
    version: str
    camera: str
    number: int
    height: int

    def load(self) -> Clip:
        source = _nuscenes(self.root, self.version, self.camera)
        return _resize_to_height(source.load(source.scenes()[self.number]), self.height)


Item = FolderItem | VideoItem | TarItem | NuScenesItem


def list_clips(
    path: Path | str, version: str = "", cameras: Sequence[str] = ("CAM_FRONT",), height: int = 256
) -> Sequence[Item]:
    """Every clip under ``path``, told apart by what lies in it: nuScenes tables, shards, or videos at any depth.

    ``version`` chooses among several nuScenes tables; ``cameras`` and ``height`` (rows) are for nuScenes alone. A
    UserError where nothing of the kind is there.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if versions := sorted(p.name for p in path.glob("v1.0-*") if p.is_dir()):
        return list(_nuscenes_items(path, _select_version(path, versions, version), cameras, height))
    if path.suffix == ".tar" or has_shards(path):
        return [item for tar in ([path] if path.is_file() else list_tars(path)) for item in _tar_items(tar)]
    items = list(_video_items(path))
    if not items:
        raise UserError(
            f"{path}: holds no nuScenes tables (v1.0-*), no shards (*.tar) and no videos ({', '.join(VIDEO_SUFFIXES)})"
        )
    return items


def show_skipped(source: Source) -> None:
    """Say in a line each what of a source gives no clip, and why."""
    for line in source.skipped if isinstance(source, VideoFolderSource | NuScenesSource) else ():
        print_result(line)


def _video_items(path: Path) -> Iterator[FolderItem | VideoItem]:
    if path.is_file():
        yield VideoItem(name=path.stem, video=path, clip_id=make_clip_id(path.stem))
        return
    videos = find_videos(path)
    ids = make_clip_ids(video.relative_to(path) for video in videos)
    described: set[Path] = set()
    for found in sorted([*videos, *find_descriptions(path)]):
        folder = found.parent
        if not (folder / SCENE_FILE).exists():
            inside = found.relative_to(path)
            yield VideoItem(name=inside.with_suffix("").as_posix(), video=found, clip_id=ids[inside])
        elif folder not in described:
            described.add(folder)
            yield FolderItem(name=folder.name, folder=folder)


def _tar_items(tar: Path) -> list[TarItem]:
    try:
        return [TarItem(tar=tar, key=key) for key in scan_tar(tar)]
    except UserError:
        return [TarItem(tar=tar)]


def _select_version(root: Path, versions: Sequence[str], version: str) -> str:
    if version and version not in versions:
        raise UserError(f"{root}: has no tables {version}; it has {', '.join(versions)}")
    if not version and len(versions) > 1:
        raise UserError(f"{root}: holds {', '.join(versions)}; choose with data=nuscenes data.version=...")
    return version or versions[0]


def _nuscenes_items(root: Path, version: str, cameras: Sequence[str], height: int) -> Iterator[NuScenesItem]:
    for camera in cameras:
        for number in range(len(_nuscenes(root, version, camera))):
            name = f"{version} scene {number} {camera}"
            yield NuScenesItem(name=name, root=root, version=version, camera=camera, number=number, height=height)


@lru_cache(maxsize=8)
def _nuscenes(root: Path, version: str, camera: str) -> NuScenesSource:
    """Tables are read once in a process, however many of their scenes are measured there."""
    return NuScenesSource(root, version, None, cameras=(camera,), sweeps=True)


def _resize_to_height(clip: Clip, height: int) -> Clip:
    native = clip.scene.cameras[0]
    width = round(native.width * height / native.height)
    cameras = tuple(reframe_camera(camera, height, width) for camera in clip.scene.cameras)
    frames = np.stack([reframe_frames(view, height, width) for view in clip.frames])
    return Clip(scene=replace(clip.scene, cameras=cameras), frames=frames)
