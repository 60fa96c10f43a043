"""Generated clips as nuScenes scenes: key frames at 2 Hz, as trainers expect them, and a mark in the description."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.nuscenes.map_raster import place_on_map
from driveforge.datasets.nuscenes.rows import find_obstacle, write_recording
from driveforge.datasets.nuscenes.taxonomy import TableRows, mark_synthetic
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.select_frames import select_clip_frames, select_frames

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
