"""The pages by which ``pipelines/studies/validator/labeled_clips`` were labeled:
``python -m tests.benchmarks.label_sheets runs/sheets``.

A page shows several clips without their recipes, measures and scores: eight frames of each, evenly over time with the
first and the last, at twice their size; and the same at their size with the outlines of the commanded boxes.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.layout import clip_to_near_plane
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.geometry import BOX_FACES, Array, box_corners, inverse, project, transform
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.webdataset_shards.format import clip_from_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines.plots.contact_sheet import write_png
from tests.benchmarks.generated_clips import FOLDER, HALVES

NUM_SHOWN, COLUMNS, SCALE = 8, 4, 2
FARTHEST_M = 50.0
BOX_COLOR, LANE_COLOR = (90, 255, 120), (255, 150, 40)
BACKGROUND, TEXT_COLOR = 250, (40, 40, 40)
SUBPIXEL_BITS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path, nargs="+", default=[FOLDER / f"{half}.tar" for half in HALVES])
    parser.add_argument("--only", nargs="+", help="clips to show, such as clip-007; default: all")
    parser.add_argument("--seed", type=int, help="hide the names: show item-000 and so on, in a random order")
    parser.add_argument("--clips-per-page", type=int, default=2)
    arguments = parser.parse_args()
    clips = _read_clips(arguments.clips, arguments.only)
    if arguments.seed is not None:
        clips = [clips[n] for n in np.random.default_rng(arguments.seed).permutation(len(clips))]
        write_atomic(arguments.out / "order.csv", _order(clips).encode())
        clips = [_renamed(clip, number) for number, clip in enumerate(clips)]
    for number, start in enumerate(range(0, len(clips), arguments.clips_per_page)):
        page = render_page(clips[start : start + arguments.clips_per_page])
        write_png(arguments.out / f"page-{number:03d}.png", page)


def _order(clips: Sequence[Clip]) -> str:
    """CSV of the clip behind every item."""
    rows = [f"item-{number:03d},{clip.scene.clip_id}" for number, clip in enumerate(clips)]
    return "\n".join(["item,clip", *rows, ""])


def _renamed(clip: Clip, number: int) -> Clip:
    return replace(clip, scene=replace(clip.scene, clip_id=f"item-{number:03d}"))


def _read_clips(tars: Sequence[Path], only: Sequence[str] | None) -> list[Clip]:
    samples = itertools.chain.from_iterable(read_samples(tar) for tar in tars)
    clips = [clip_from_members(members, key)[0] for key, members in samples if only is None or key in only]
    return sorted(clips, key=lambda clip: clip.scene.clip_id)


def render_page(clips: Sequence[Clip]) -> NDArray[np.uint8]:
    """The rows of all ``clips``, one clip below the other."""
    return np.concatenate([render_clip(clip) for clip in clips])


def render_clip(clip: Clip) -> NDArray[np.uint8]:
    """The title of a clip, its frames at twice their size, and below at their size with the commanded boxes."""
    shown = np.linspace(0, clip.scene.num_frames - 1, NUM_SHOWN).round().astype(int)
    large = [_resize(clip.frames[0, t], SCALE) for t in shown]
    rows = [_side_by_side(large[start : start + COLUMNS]) for start in range(0, NUM_SHOWN, COLUMNS)]
    width = rows[0].shape[1]
    boxes = _side_by_side([_commanded(clip.frames[0, t], clip.scene, t) for t in shown])
    rows.append(np.asarray(cv2.resize(boxes, (width, boxes.shape[0] * width // boxes.shape[1])), np.uint8))
    band = np.full((20, width, 3), BACKGROUND, np.uint8)
    cv2.putText(band, _title(clip.scene), (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, TEXT_COLOR, 1, cv2.LINE_AA)
    padded = [np.pad(row, ((0, 4), (0, 0), (0, 0)), constant_values=BACKGROUND) for row in rows]
    return np.concatenate([band, *padded])


def _title(scene: Scene) -> str:
    assert scene.ego_to_world is not None
    seconds = scene.timestamps[-1] - scene.timestamps[0]
    change = inverse(scene.ego_to_world[0]) @ scene.ego_to_world[-1]
    turn = np.degrees(np.arctan2(change[1, 0], change[0, 0])) / seconds
    speed = np.linalg.norm(change[:3, 3]) / seconds
    motion = f"{speed:.1f} m/s, turning {turn:+.1f} deg/s to the left"
    return f"{scene.clip_id}: {scene.num_frames} frames; {scene.domain}; {scene.caption}; {motion}"


def _commanded(frame: NDArray[np.uint8], scene: Scene, t: int) -> NDArray[np.uint8]:
    """The frame with the outlines of commanded boxes and lanes, drawn at twice its size and reduced."""
    image, camera = _resize(frame, SCALE), scene.cameras[0]
    world_to_camera = inverse(scene.camera_to_world(camera))[t]
    for lane in scene.lanes:
        points = transform(world_to_camera, lane.points)
        for ends in itertools.pairwise(points):
            if max(point[2] for point in ends) < FARTHEST_M:
                _draw(image, np.stack(ends), camera, LANE_COLOR, closed=False)
    for vehicle in scene.tracks:
        corners = box_corners(world_to_camera @ vehicle.box_to_world[t], vehicle.size)
        if vehicle.present[t] and corners[:, 2].max() < FARTHEST_M:
            for face in corners[np.array(BOX_FACES)]:
                _draw(image, face, camera, BOX_COLOR, closed=True)
    return _resize(image, 1 / SCALE)


def _draw(
    image: NDArray[np.uint8], points: Array, camera: Camera, color: tuple[int, int, int], *, closed: bool
) -> None:
    """Draw the part of a polyline of camera points ``(N, 3)`` in front of the camera."""
    visible = clip_to_near_plane(points, closed=closed)
    if len(visible) > 1:
        pixels = [_pixels(visible, np.asarray(camera.intrinsics))]
        cv2.polylines(image, pixels, closed, color, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _pixels(points: Array, intrinsics: Array) -> NDArray[np.int32]:
    """Camera points ``(N, 3)`` as pixels ``(N, 2)`` of the enlarged image, in OpenCV's fixed-point units."""
    pixels = (project(points, intrinsics)[0] + 0.5) * SCALE
    return np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _resize(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)


def _side_by_side(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate([np.pad(i, ((0, 0), (0, 4), (0, 0)), constant_values=BACKGROUND) for i in images], 1)


if __name__ == "__main__":
    main()
