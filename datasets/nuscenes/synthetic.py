"""Generated clips as nuScenes scenes: key frames at 2 Hz, as trainers expect them, and a mark in the description."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.nuscenes.map_raster import place_on_map
from driveforge.datasets.nuscenes.rows import find_obstacle, write_recording
from driveforge.datasets.nuscenes.taxonomy import TableRows, mark_synthetic
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.select_frames import select_clip_frames, select_frames
from driveforge.datasets.webdataset_shards.format import clip_from_members, scene_from_members
from driveforge.datasets.webdataset_shards.packing import AcceptedSample
from driveforge.datasets.webdataset_shards.tar_samples import read_members

KEY_FRAME_STEP_S = 0.5


def key_frames_at_2_hz(timestamps: Array) -> NDArray[np.int64]:
    """The frames nearest to 0, 0.5, 1.0, ... s after the first of ``timestamps`` ``(T,)`` s, increasing, each once.

    Below 2 Hz, every frame.
    """
    seconds = timestamps - timestamps[0]
    half_frame = 0.5 * float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    grid = np.arange(0.0, seconds[-1] + half_frame + 1e-6, KEY_FRAME_STEP_S)
    nearest: NDArray[np.int64] = np.abs(seconds[None] - grid[:, None]).argmin(1)
    return np.unique(nearest)


def exported_frames(scene: Scene) -> NDArray[np.int64]:
    """The frames of ``scene`` up to its last key frame at 2 Hz, without held frames.

    Predictors and planners count samples instead of reading timestamps, so a last sample after less than 0.5 s would
    give them wrong futures; the frames after the last key frame (less than 0.5 s) are left out.
    """
    recorded = scene.num_frames - scene.held_frames
    return np.arange(key_frames_at_2_hz(scene.timestamps[:recorded])[-1] + 1)


def find_export_obstacle(scene: Scene) -> str:
    """Why ``scene`` cannot be exported; "" if it can."""
    if len(exported_frames(scene)) < 2:
        return f"velocities of boxes need two key frames, which are {KEY_FRAME_STEP_S} s apart, and the clip is shorter"
    return find_obstacle(scene)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenClip:
    """The table rows of a clip, or the ``obstacle`` because of which it has none."""

    scene: Scene
    obstacle: str = ""
    rows: TableRows = field(default_factory=dict)


def write_sample(root: Path, sample: AcceptedSample) -> WrittenClip:
    """Write the files of an accepted clip under ``root``; raises UserError if the sample is damaged."""
    members, where = read_members(sample.tar, sample.members), f"{sample.tar}: {sample.key}"
    scene, _ = scene_from_members(members, where)
    if obstacle := find_export_obstacle(scene):
        return WrittenClip(scene=scene, obstacle=obstacle)
    return WrittenClip(scene=scene, rows=write_synthetic_clip(root, clip_from_members(members, where)[0]))


def write_synthetic_clip(root: Path, clip: Clip) -> TableRows:
    """Write the files of ``clip`` under ``root``; returns its table rows. See ``write_recording`` for errors."""
    cut = select_clip_frames(clip, exported_frames(clip.scene))
    # Tables have absolute times, which the writer chooses.
    scene = replace(cut.scene, timestamps=cut.scene.timestamps - cut.scene.timestamps[0])
    keys = key_frames_at_2_hz(scene.timestamps).tolist()
    rows = write_recording(root, scene, lambda view, t: cut.frames[view, t], keys=keys, for_training=True)
    for row in rows["scene"]:
        row["description"] = mark_synthetic(row["description"])
    return rows


def map_translation(scene: Scene) -> tuple[float, float]:
    """The whole meters in x and y by which the writer moves ``scene``, so that a map raster covers it."""
    cut = select_frames(scene, exported_frames(scene))
    assert cut.ego_to_world is not None
    placed = place_on_map(cut).ego_to_world
    assert placed is not None
    x, y = np.round(placed[0, :2, 3] - cut.ego_to_world[0, :2, 3]).tolist()
    return x, y
