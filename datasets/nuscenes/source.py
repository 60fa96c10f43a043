"""nuScenes, or any data set in its table format, as a source of clips."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.framing import Framing
from driveforge.datasets.nuscenes.boxes import read_tracks
from driveforge.datasets.nuscenes.devkit import find_split, open_tables, read_splits
from driveforge.datasets.nuscenes.extrapolate import pad_scene
from driveforge.datasets.nuscenes.frames import Recording, frames_by_scene, read_recordings
from driveforge.datasets.nuscenes.gaps import check_images, too_short_error
from driveforge.datasets.nuscenes.lanes import read_lanes
from driveforge.datasets.nuscenes.orientation import check_orientations
from driveforge.datasets.nuscenes.taxonomy import Row, infer_domain, unmark_synthetic
from driveforge.datasets.reframe import clip_windows, reframe_camera, reframe_frames
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.source import Item

# Far above the longest description of nuScenes.
_MAX_CAPTION = 2000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ClipSpec:
    """A clip that is not loaded yet: frames of a recording, followed by ``held_frames`` padding frames."""

    clip_id: str
    recording: Recording
    frames: NDArray[np.int64]
    held_frames: int = 0


class NuScenesSource:
    """Clips of the tables in ``root/version``, read through nuscenes-devkit.

    ``cameras`` are channels; the first is the reference for timestamps and ego poses. ``sweeps=False`` uses only key
    frames. Without a ``framing``, every scene is one clip at native size and rate. ``split`` is "all", an official
    split or one of ``splits.json``. Scenes that are too short for a clip are skipped, as reported in ``skipped``,
    or padded at constant velocity with ``pad_short_scenes`` (``Scene.held_frames``).

    Tables are checked at once; poses, boxes and lanes are read when a scene is indexed, images when a clip is loaded.
    Raises UserError naming the table, token or file that is wrong.
    """

    def __init__(
        self,
        root: Path | str,
        version: str,
        framing: Framing | None,
        *,
        split: str = "all",
        cameras: Sequence[str] = ("CAM_FRONT",),
        sweeps: bool = True,
        pad_short_scenes: bool = False,
    ) -> None:
        if not cameras or len(set(cameras)) != len(cameras):
            raise UserError(f"cameras must be one or more different channels, got {', '.join(cameras) or 'none'}")
        self._root, self._version, self._framing = Path(root), version, framing
        self._nusc = open_tables(self._root, version)
        self._splits = read_splits(self._root, version)
        self._split = split
        frames = frames_by_scene(self._nusc, cameras, sweeps)
        rows = self._select_rows()
        scenes = [read_recordings(self._nusc, row, frames.get(row["token"], {}), cameras) for row in rows]
        check_orientations(self._nusc, scenes)
        self._clip_specs = _select_clips(scenes, framing, pad_short_scenes)
        self.skipped = tuple(_describe_skipped(scenes, self._clip_specs, framing, pad_short_scenes))
        self._by_id = {spec.clip_id: spec for spec in self._clip_specs}
        if len(self._by_id) != len(self._clip_specs):
            raise UserError(f"{self._root / version / 'scene.json'}: two scenes have the same name")

    def __len__(self) -> int:
        return len(self._clip_specs)

    def scenes(self) -> Sequence[Scene]:
        """A lazy sequence of scenes: interpolating all boxes of a large data set takes minutes."""
        return _LazyScenes(self)

    def scene(self, number: int) -> Scene:
        """Scene ``number``, with poses, boxes and lanes."""
        spec = self._clip_specs[number]
        recording, frames = spec.recording, spec.frames
        times = recording.timestamps[frames]
        row, description = recording.row, unmark_synthetic(str(recording.row["description"]))
        location = self._nusc.get("log", row["log_token"])["location"]
        scene = Scene(
            clip_id=spec.clip_id,
            domain=infer_domain(description),
            caption=_caption(description),
            timestamps=(times - times[0]) / 1e6,
            ego_to_world=recording.ego_to_world[frames],
            cameras=tuple(self._camera(recording, number, frames) for number in range(len(recording.cameras))),
            tracks=read_tracks(self._nusc, [recording.instants[n] for n in frames]),
            lanes=read_lanes(self._root, row["name"], location, recording.ego_to_world[frames, :3, 3]),
            source=f"nuscenes:{self._version}/{row['name']}",
            split=self._split if self._split != "all" else find_split(row["name"], self._version, self._splits),
            recording_token=row["token"],
        )
        if self._framing and spec.held_frames:
            return pad_scene(scene, self._framing.num_frames, self._framing.frame_rate)
        return scene

    def files(self, scene: Scene) -> Sequence[Path]:
        spec = self._find_clip(scene)
        return [
            Path(self._nusc.get_sample_data_path(view[n])) for view in spec.recording.sample_data for n in spec.frames
        ]

    def load(self, scene: Scene) -> Clip:
        """``scene`` with its pixels; raises UserError naming an image that is missing, truncated or of another size."""
        spec = self._find_clip(scene)
        views = []
        for camera, tokens in zip(spec.recording.cameras, spec.recording.sample_data, strict=True):
            images = [self._read_image(camera, tokens[n]) for n in spec.frames]
            views.append(np.concatenate(images + images[-1:] * spec.held_frames))
        if len({view.shape for view in views}) != 1:
            sizes = ", ".join(f"{c.name} {c.width}x{c.height}" for c in spec.recording.cameras)
            raise UserError(f"{scene.clip_id}: cameras must have the same image size ({sizes}); set a framing")
        return Clip(scene=scene, frames=np.stack(views))

    def _find_clip(self, scene: Scene) -> _ClipSpec:
        spec = self._by_id.get(scene.clip_id)
        if spec is None:
            raise UserError(f"{self._root} ({self._version}) has no clip {scene.clip_id!r}")
        return spec

    def _select_rows(self) -> list[Row]:
        rows = list(self._nusc.scene)
        if self._split != "all":
            if self._split not in self._splits:
                raise UserError(f"unknown split {self._split!r}; choose from all, {', '.join(self._splits)}")
            rows = [row for row in rows if row["name"] in self._splits[self._split]]
        if not rows:
            named = ", ".join(row["name"] for row in self._nusc.scene[:3]) or "none"
            raise UserError(
                f"split {self._split!r} selects no scene of {self._root / self._version} (its scenes: {named}"
                f"{', ...' if len(self._nusc.scene) > 3 else ''}); use data.split=all or another version"
            )
        return rows

    def _camera(self, recording: Recording, number: int, frames: NDArray[np.int64]) -> Camera:
        """Camera ``number`` of a recording at ``frames``, with the intrinsics of the framing."""
        camera, tokens = recording.cameras[number], recording.sample_data[number]
        extrinsics = camera.camera_to_ego
        camera = replace(
            camera,
            camera_to_ego=extrinsics[frames] if extrinsics is not None and extrinsics.ndim == 3 else extrinsics,
            image_times_us=recording.image_times[number, frames],
            image_tokens=tuple(tokens[t] for t in frames),
        )
        return reframe_camera(camera, self._framing.height, self._framing.width) if self._framing else camera

    def _read_image(self, camera: Camera, token: str) -> NDArray[np.uint8]:
        """Pixels ``(1, H, W, 3)`` of one sample_data row, resized to the framing."""
        path = Path(self._nusc.get_sample_data_path(token))
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except FileNotFoundError:
            raise UserError(f"image {path} is missing (sample_data token {token})") from None
        except Exception as error:  # decoders raise exceptions of many types
            raise UserError(f"image {path} cannot be read (sample_data token {token}): {shorten(error, 120)}") from None
        if pixels.shape[:2] != (camera.height, camera.width):
            raise UserError(
                f"image {path} is {pixels.shape[1]}x{pixels.shape[0]}, but sample_data token {token} says "
                f"{camera.width}x{camera.height}"
            )
        framing = self._framing
        return reframe_frames(pixels[None], framing.height, framing.width) if framing else pixels[None]


def list_items(root: Path, version: str, cameras: Sequence[str], height: int) -> list[Item]:
    """Every scene through each of ``cameras``: key frames and sweeps at native rate, resized to ``height`` rows."""
    return [
        Item(
            name=f"{version} scene {number} {camera}",
            loader=_load_whole_scene,
            arguments=(root, version, camera, number, height),
        )
        for camera in cameras
        for number in range(len(_open_whole_scenes(root, version, camera)))
    ]


def _load_whole_scene(root: Path, version: str, camera: str, number: int, height: int) -> Clip:
    source = _open_whole_scenes(root, version, camera)
    return _resize(source.load(source.scene(number)), height)


@lru_cache(maxsize=8)
def _open_whole_scenes(root: Path, version: str, camera: str) -> NuScenesSource:
    """Cached: a process that loads many scenes reads the tables once."""
    return NuScenesSource(root, version, None, cameras=(camera,), sweeps=True)


def _resize(clip: Clip, height: int) -> Clip:
    native = clip.scene.cameras[0]
    width = round(native.width * height / native.height)
    cameras = tuple(reframe_camera(camera, height, width) for camera in clip.scene.cameras)
    frames = np.stack([reframe_frames(view, height, width) for view in clip.frames])
    return Clip(scene=replace(clip.scene, cameras=cameras), frames=frames)


class _LazyScenes(Sequence[Scene]):
    def __init__(self, source: NuScenesSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Scene]: ...
    def __getitem__(self, index: int | slice) -> Scene | Sequence[Scene]:
        if isinstance(index, slice):
            return [self._source.scene(n) for n in range(*index.indices(len(self)))]
        return self._source.scene(index)

    def __iter__(self) -> Iterator[Scene]:
        return (self._source.scene(n) for n in range(len(self)))


def _caption(description: str) -> str:
    return " ".join(description.lower().split()).strip(" .,;")[:_MAX_CAPTION]


def _select_clips(
    scenes: Sequence[Sequence[Recording]], framing: Framing | None, pad_short_scenes: bool
) -> list[_ClipSpec]:
    specs = [spec for recordings in scenes for spec in _select_scene_clips(recordings, framing, pad_short_scenes)]
    if not specs and framing:
        raise too_short_error(
            [recording for recordings in scenes for recording in recordings], framing, pad_short_scenes
        )
    return specs


def _describe_skipped(
    scenes: Sequence[Sequence[Recording]], specs: Sequence[_ClipSpec], framing: Framing | None, pad_short_scenes: bool
) -> Iterator[str]:
    used = {spec.recording.row["token"] for spec in specs}
    unused = [recordings for recordings in scenes if recordings[0].row["token"] not in used]
    if unused and framing:
        first = too_short_error(unused[0], framing, pad_short_scenes)
        yield f"{len(unused)} of {len(scenes)} scenes yield no clip, the first: {first}"


def _select_scene_clips(
    recordings: Sequence[Recording], framing: Framing | None, pad_short_scenes: bool
) -> list[_ClipSpec]:
    """The clips of one scene; if it is too short and ``pad_short_scenes``, one clip of its longest window."""
    windows = [(recording, window, 0) for recording in recordings for window in _windows(recording, framing)]
    length = framing.num_frames if framing else 0
    while framing and pad_short_scenes and not windows and length > 2:
        length -= 1
        shorter = replace(framing, num_frames=length)
        num_held = framing.num_frames - length
        windows = [(recording, w, num_held) for recording in recordings for w in _windows(recording, shorter)][:1]
    return [
        _ClipSpec(
            clip_id=f"{_clip_prefix(recording)}-{n:03d}", recording=recording, frames=window, held_frames=num_held
        )
        for n, (recording, window, num_held) in enumerate(windows)
    ]


def _windows(recording: Recording, framing: Framing | None) -> list[NDArray[np.int64]]:
    if framing is None:
        check_images(recording)
        return [np.arange(len(recording.timestamps))]
    return clip_windows(framing, recording.seconds, recording.image_seconds[1:])


def _clip_prefix(recording: Recording) -> str:
    """The scene's name; for cameras other than only CAM_FRONT, also the reference camera and the number of cameras."""
    name = str(recording.row["name"])
    cameras = recording.cameras
    if len(cameras) > 1:
        name += f"-{cameras[0].name}-x{len(cameras)}"
    elif cameras[0].name != "CAM_FRONT":
        name += f"-{cameras[0].name}"
    return re.sub(r"[^a-z0-9_-]", "-", name.lower())
