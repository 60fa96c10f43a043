"""ClipGT folders as a source of clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.clipgt.files import ClipFiles, find_clips
from driveforge.datasets.clipgt.reader import ClipGtClip, read_clip
from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.reframe import clip_windows, reframe_camera, reframe_frames
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.select_frames import select_frames
from driveforge.datasets.source import Item
from driveforge.datasets.video import VideoInfo, read_frames, read_video_info


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Window:
    """The frames ``indices`` of a ClipGT clip, which form one clip."""

    scene: Scene
    clip: ClipGtClip
    indices: NDArray[np.int64]


class ClipGtSource:
    """Clips from all ClipGT folders under ``root``, converted to ``framing``; without one, each is a clip as it is.

    ``cameras`` are channels such as ``CAM_FRONT``, or names of the rig; all of the rig if empty. ``domain`` overrides
    the domain. Clips need no pixels: only ``load`` reads the videos. Raises UserError naming the file and the column
    that is missing or wrong, or ``root`` if it holds no clip.
    """

    def __init__(
        self, root: Path, framing: Framing | None, cameras: Sequence[str] = (), domain: str | None = None
    ) -> None:
        self._framing = framing
        self._windows: dict[str, _Window] = {}
        if not (found := find_clips(root)):
            raise UserError(f"{root}: holds no ClipGT clip (<clip>.calibration_estimate.parquet)")
        too_short = []
        for files in found:
            clip = _read(files, cameras, framing)
            windows = list(_windows(clip, framing, domain))
            too_short += [] if windows else [files.clip_id]
            for window in windows:
                other = self._windows.setdefault(window.scene.clip_id, window)
                if other is not window:
                    first, second = other.clip.files.folder, files.folder
                    raise UserError(f"{first} and {second} both hold a clip {window.scene.clip_id}: rename one")
        self.skipped = tuple(f"{name} is too short for a clip" for name in too_short)
        if not self._windows:
            raise UserError(f"{root}: {len(found)} ClipGT clips, none long enough; lower data.num_frames (to 1 + 4k)")

    def __len__(self) -> int:
        return len(self._windows)

    def scenes(self) -> Sequence[Scene]:
        return [window.scene for window in self._windows.values()]

    def files(self, scene: Scene) -> Sequence[Path]:
        found = (self._window(scene).clip.files.video(camera.name) for camera in scene.cameras)
        return [path for path in found if path is not None]

    def load(self, scene: Scene) -> Clip:
        """The pixels of the clip ``scene.clip_id``, with ``scene`` itself, which may be edited.

        Raises UserError if a camera has no video, or if its video is of an f-theta lens.
        """
        window = self._window(scene)
        views = [_load_view(window, camera, self._framing) for camera in scene.cameras]
        return Clip(scene=scene, frames=np.stack(views))

    def _window(self, scene: Scene) -> _Window:
        if scene.clip_id not in self._windows:
            raise UserError(f"no clip {scene.clip_id!r} in these ClipGT folders")
        return self._windows[scene.clip_id]


def list_items(path: Path, cameras: Sequence[str]) -> list[Item]:
    """Every ClipGT clip under ``path``, to be loaded at its native size with its videos."""
    return [
        Item(name=files.clip_id, loader=_load_clip, arguments=(files.folder, files.prefix, tuple(cameras)))
        for files in find_clips(path)
    ]


def _load_clip(folder: Path, prefix: str, cameras: tuple[str, ...]) -> Clip:
    clip = _read(ClipFiles(folder=folder, prefix=prefix), cameras, None)
    (window,) = _windows(clip, None, None)
    return Clip(
        scene=window.scene, frames=np.stack([_load_view(window, camera, None) for camera in clip.scene.cameras])
    )


def _read(files: ClipFiles, cameras: Sequence[str], framing: Framing | None) -> ClipGtClip:
    if framing is None:
        return read_clip(files, cameras)
    return read_clip(files, cameras, framing.frame_rate, (framing.height, framing.width))


def _windows(clip: ClipGtClip, framing: Framing | None, domain: str | None) -> list[_Window]:
    scene = replace(clip.scene, domain=domain) if domain else clip.scene
    if framing is None:
        return [_Window(scene=scene, clip=clip, indices=np.arange(scene.num_frames))]
    windows = []
    for number, indices in enumerate(clip_windows(framing, scene.timestamps)):
        window = select_frames(scene, indices)
        window = replace(
            window,
            clip_id=f"{scene.clip_id}-{number:04d}",
            cameras=tuple(_reframe(camera, clip, framing) for camera in window.cameras),
            tracks=tuple(track for track in window.tracks if track.present.any()),
        )
        windows.append(_Window(scene=window, clip=clip, indices=indices))
    return windows


def _reframe(camera: Camera, clip: ClipGtClip, framing: Framing) -> Camera:
    """Cameras that were fitted to a lens have the size of the framing already."""
    return camera if camera.name in clip.lenses else reframe_camera(camera, framing.height, framing.width)


def _load_view(window: _Window, camera: Camera, framing: Framing | None) -> NDArray[np.uint8]:
    """The frames ``(T, H, W, 3)`` of one camera."""
    clip, advice = window.clip, "generate from layout, pose and caption alone by generate.num_first_frames=0"
    path = clip.files.video(camera.name)
    if path is None:
        raise UserError(f"{clip.files.folder}: clip {clip.scene.clip_id} has no video of {camera.name}; {advice}")
    if clip.video_frames is None:
        raise UserError(f"{path}: the times of its frames are unknown, there is no JSON file with them; {advice}")
    if camera.name in clip.lenses:
        raise UserError(f"{path}: shows an f-theta lens, whose images are not converted to a pinhole camera; {advice}")
    video = read_video_info(path)
    recorded = clip.scene.camera(camera.name)
    _check_size(video, recorded, int(clip.video_frames[-1]) + 1)
    height, width = (video.height, video.width) if framing is None else (framing.height, framing.width)
    images = read_frames(video, clip.video_frames[window.indices])
    return np.concatenate([reframe_frames(image[None], height, width) for image in images])


def _check_size(video: VideoInfo, camera: Camera, num_frames: int) -> None:
    if (video.width, video.height) != (camera.width, camera.height) or len(video.pts) < num_frames:
        raise UserError(
            f"{video.path}: {len(video.pts)} frames of {video.width}x{video.height}, but the rig and the times file "
            f"say {num_frames} of {camera.width}x{camera.height}"
        )
