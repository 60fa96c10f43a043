"""Reading of one ClipGT clip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.clipgt.cameras import FThetaCamera, fit_pinhole, is_of_camera, read_rig
from driveforge.datasets.clipgt.companion import COMPANION_SUFFIX, Companion, read_companion
from driveforge.datasets.clipgt.files import ClipFiles
from driveforge.datasets.clipgt.lines import read_lanes
from driveforge.datasets.clipgt.motion import Times, interpolate_poses, read_egomotion, read_tracks
from driveforge.datasets.clipgt.tables import read_table, read_texts
from driveforge.datasets.clipgt.vocabulary import channel_name, file_name, sensor_name
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.nuscenes.taxonomy import infer_domain
from driveforge.datasets.scene import Camera, Scene

# NVIDIA's reader takes the times of this camera for all.
_REFERENCE_CAMERA = "camera_front_wide_120fov"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipGtClip:
    """A clip at all its frame times.

    ``lenses`` are the f-theta cameras among ``scene.cameras``, by name. ``video_frames`` ``(T,)`` are the indices of
    the frames in the videos, None if the times of the videos are unknown.
    """

    files: ClipFiles
    scene: Scene
    lenses: Mapping[str, FThetaCamera]
    video_frames: NDArray[np.int64] | None


def read_clip(
    files: ClipFiles, cameras: Sequence[str] = (), frame_rate: float = 0.0, size: tuple[int, int] | None = None
) -> ClipGtClip:
    """The clip of ``files`` with the channels ``cameras``; all of the rig if empty.

    Frames are those of the camera's times file; without it, every 1 / ``frame_rate`` s from the first ego pose to the
    last, or at every ego pose if ``frame_rate`` is 0. f-theta cameras become pinhole cameras of ``size`` (height,
    width) px, by default that of their images. Raises UserError naming the file and column that is missing or wrong.
    """
    companion = read_companion(files.file(COMPANION_SUFFIX))
    times, poses = read_egomotion(read_table(files.table("egomotion_estimate")))
    chosen, lenses = _read_cameras(files, companion, cameras, size)
    recorded = _read_frame_times(files, chosen, companion)
    frames, video_frames = _frames_within(times, recorded, frame_rate, files)
    if companion is not None and len(frames) != companion.description.num_frames:
        raise UserError(
            f"{files.file(COMPANION_SUFFIX)}: describes {companion.description.num_frames} frames, of which "
            f"{files.table('egomotion_estimate').name} covers {len(frames)}; delete it to read the ClipGT files alone"
        )
    caption = _read_caption(files, chosen)
    world = np.eye(4) if companion is None else companion.first_ego_to_world
    categories = {} if companion is None else companion.categories
    scene = Scene(
        clip_id=files.clip_id,
        domain=infer_domain(caption),
        caption=caption,
        timestamps=frames / 1e6,
        cameras=chosen,
        ego_to_world=world @ interpolate_poses(times, poses, frames),
        tracks=read_tracks(read_table(files.table("obstacle")), frames, world, categories),
        lanes=read_lanes(files.table, world),
        source=files.clip_id,
    )
    if companion is not None:
        scene = _with_description(scene, companion.description)
    return ClipGtClip(files=files, scene=scene, lenses=lenses, video_frames=video_frames)


def _with_description(scene: Scene, description: Scene) -> Scene:
    """``scene`` with what its companion knows; a caption that was edited in the prompt file stays."""
    is_edited = scene.caption and scene.caption != description.caption.strip()
    return replace(
        scene,
        domain=description.domain,
        caption=scene.caption if is_edited else description.caption,
        timestamps=description.timestamps,
        source=description.source,
        split=description.split,
        recording_token=description.recording_token,
    )


def _read_cameras(
    files: ClipFiles, companion: Companion | None, names: Sequence[str], size: tuple[int, int] | None
) -> tuple[tuple[Camera, ...], dict[str, FThetaCamera]]:
    """The cameras ``names``, and the f-theta ones among them. A pinhole camera of ours comes back as it was."""
    path = files.table("calibration_estimate")
    described = {channel_name(sensor_name(camera.name)): camera for camera in _described_cameras(companion)}
    known: dict[str, FThetaCamera] = {}
    for camera in read_rig(_rig_cell(path), path):
        name = described[camera.name].name if camera.name in described else camera.name
        known[name] = replace(camera, name=name)
    if not known:
        raise UserError(f"{path}: calibration_estimate.rig_json has no camera")
    by_sensor = {channel_name(sensor_name(camera.name)): camera.name for camera in known.values()}
    chosen, lenses = [], {}
    for wanted in names or known:
        name = wanted if wanted in known else by_sensor.get(channel_name(wanted), wanted)
        if name not in known:
            raise UserError(f"{path}: has no camera {shorten(wanted)}; choose from {', '.join(known)} by data.cameras")
        lens, ours = known[name], described.get(channel_name(sensor_name(name)))
        if ours is not None and is_of_camera(lens, ours):
            chosen.append(ours)
        else:
            lenses[name] = lens
            chosen.append(fit_pinhole(lens, *(size or (lens.height, lens.width))))
    return tuple(chosen), lenses


def _described_cameras(companion: Companion | None) -> Sequence[Camera]:
    return () if companion is None else companion.description.cameras


def _rig_cell(path: Path) -> str:
    """The rig JSON of the first row; AlpaSim also reads a column of text without a struct."""
    table = read_table(path)
    if not table.num_rows:
        raise UserError(f"{path}: has no rows, so the cameras are unknown")
    column = "calibration_estimate" if "calibration_estimate" in table.columns else "calibration_estimate.rig_json"
    return read_texts(table, column)[0]


def _read_frame_times(files: ClipFiles, cameras: Sequence[Camera], companion: Companion | None) -> Times | None:
    """The times of all frames of the first camera in microseconds, None if no file says them."""
    sensors = [file_name(sensor_name(camera.name)) for camera in cameras]
    paths = [files.file(f"{sensor}.json") for sensor in (*sensors, _REFERENCE_CAMERA)]
    path = next((path for path in paths if path.is_file()), None)
    described = None if companion is None else np.rint(companion.description.timestamps * 1e6).astype(np.int64)
    if path is None:
        return described
    entries = read_json(path)
    try:
        times = np.array([entry["timestamp"] for entry in entries])
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: must be a list of objects with a timestamp ({shorten(repr(error))})") from error
    if times.dtype != np.int64 or not len(times) or (np.diff(times) <= 0).any():
        raise UserError(f"{path}: timestamp must be whole microseconds that strictly increase")
    if described is not None and not np.array_equal(times, described):
        raise UserError(
            f"{files.file(COMPANION_SUFFIX)}: describes other frames than {path.name}; "
            "delete it to read the ClipGT files alone"
        )
    return times


def _frames_within(
    times: Times, recorded: Times | None, frame_rate: float, files: ClipFiles
) -> tuple[Times, NDArray[np.int64] | None]:
    """Frame times from the first ego pose to the last, and their places among the ``recorded`` ones."""
    if recorded is not None:
        inside = np.flatnonzero((recorded >= times[0]) & (recorded <= times[-1]))
        if not len(inside):
            path = files.table("egomotion_estimate")
            raise UserError(f"{path}: key.timestamp_micros has no time in common with the frames of the camera")
        return recorded[inside], inside
    if frame_rate <= 0:
        return times, None
    count = int((times[-1] - times[0]) * frame_rate / 1e6 + 1e-6) + 1
    return times[0] + np.rint(np.arange(count) / frame_rate * 1e6).astype(np.int64), None


def _read_caption(files: ClipFiles, cameras: Sequence[Camera]) -> str:
    """The prompt of the clip or of its first camera; "" if there is none."""
    sensor = file_name(sensor_name(cameras[0].name))
    paths = (files.file("prompt.txt"), files.file(f"{sensor}_prompt.txt"), files.folder / f"{sensor}_prompt.txt")
    path = next((path for path in paths if path.is_file()), None)
    try:
        return "" if path is None else path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({shorten(error, 80)})") from error
