"""The pictures by which ``pipelines/studies/validator/labeled_clips`` were labeled:
``python -m tests.benchmarks.label_sheets runs/sheets``.

One picture per clip, without its recipe and its measures. From the top: the clip at five times; the same with the
commanded boxes (green) and lanes (orange); five times in between; and two pixel rows over time, with the first frame at
the top, which show flicker and jerks.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import BOX_FACES, Array, box_corners, inverse, project, transform
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.webdataset_shards.format import clip_from_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines.plots.contact_sheet import write_png

SHOWN = (0, 4, 8, 12, 16)
ROW_GAP = (2, 6, 10, 14, 15)
SLICED_ROWS = (44, 62)
SCALE, TIME_SCALE = 2, 6
NEAREST_M, FARTHEST_M = 1.0, 50.0
BOX_COLOR, LANE_COLOR = (90, 255, 120), (255, 150, 40)
SUBPIXEL_BITS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path, default=Path("pipelines/studies/validator/labeled_clips/clips.tar"))
    arguments = parser.parse_args()
    for key, members in read_samples(arguments.clips):
        clip, metadata = clip_from_members(members, key)
        write_png(arguments.out / f"{key}.png", render_sheet(clip, metadata["edit"]))


def render_sheet(clip: Clip, edit: str) -> NDArray[np.uint8]:
    scene, frames = clip.scene, clip.frames[0]
    rows = [
        _side_by_side([_large(frames[t]) for t in SHOWN]),
        _side_by_side([_commanded(frames[t], scene, t) for t in SHOWN]),
        _side_by_side([_large(frames[t]) for t in ROW_GAP]),
        _side_by_side([_over_time(frames, y) for y in SLICED_ROWS]),
    ]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=250) for row in rows]
    title = f"{scene.clip_id}: {edit}; {scene.domain}; {scene.caption}; {_moved(scene)}"
    band = np.full((26, width, 3), 250, np.uint8)
    cv2.putText(band, title, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([band, *rows])


def _moved(scene: Scene) -> str:
    assert scene.ego_to_world is not None
    seconds = scene.timestamps[-1] - scene.timestamps[0]
    change = inverse(scene.ego_to_world[0]) @ scene.ego_to_world[-1]
    turn = np.degrees(np.arctan2(change[1, 0], change[0, 0])) / seconds
    return f"{np.linalg.norm(change[:3, 3]) / seconds:.1f} m/s, turning {turn:+.1f} deg/s to the left"


def _commanded(frame: NDArray[np.uint8], scene: Scene, t: int) -> NDArray[np.uint8]:
    """The enlarged frame with the commanded boxes and lanes."""
    image, camera = _large(frame), scene.cameras[0]
    world_to_camera = inverse(scene.camera_to_world(camera))[t]
    intrinsics = np.asarray(camera.intrinsics)
    for lane in scene.lanes:
        points = transform(world_to_camera, lane.points)
        inside = (points[:, 2] > NEAREST_M) & (points[:, 2] < FARTHEST_M)
        for run in np.split(np.arange(len(points)), np.flatnonzero(np.diff(inside)) + 1):
            if inside[run[0]]:
                polyline = [_pixels(points[run], intrinsics)]
                cv2.polylines(image, polyline, False, LANE_COLOR, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    for vehicle in scene.tracks:
        corners = box_corners(world_to_camera @ vehicle.box_to_world[t], vehicle.size)
        if vehicle.present[t] and corners[:, 2].min() > NEAREST_M and corners[:, 2].max() < FARTHEST_M:
            faces = list(_pixels(corners, intrinsics)[np.array(BOX_FACES)])
            cv2.polylines(image, faces, True, BOX_COLOR, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    return image


def _pixels(points: Array, intrinsics: Array) -> NDArray[np.int32]:
    """Camera points ``(N, 3)`` as pixels ``(N, 2)`` of the enlarged image, in OpenCV's fixed-point units."""
    pixels = (project(points, intrinsics)[0] + 0.5) * SCALE
    return np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _large(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC), np.uint8)


def _over_time(frames: NDArray[np.uint8], y: int) -> NDArray[np.uint8]:
    """One pixel row over time ``(T, W, 3)``, enlarged."""
    size = (frames.shape[2] * SCALE * 2, len(frames) * TIME_SCALE)
    return np.asarray(cv2.resize(frames[:, y], size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _side_by_side(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate([np.pad(i, ((0, 0), (0, 4), (0, 0)), constant_values=250) for i in images], 1)


if __name__ == "__main__":
    main()
