"""A commanded vehicle that is missing in the pixels: a box is added that moves with the traffic."""

from dataclasses import replace

import numpy as np

from driveforge.datasets.geometry import Array, inverse, pose, yaw_from_pose, yaw_rotation
from driveforge.datasets.scene import Camera, Clip, Track
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable, percent_to_frames, require_poses
from driveforge.validation.corruptions.visibility import BoxVisibility, Mask
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import View, reference_view

CAR_SIZE = np.array([4.5, 1.85, 1.55])
AHEAD_M = (6.0, 22.0)
MAX_ASIDE_M = 4.0  # from the path of the ego, so that the box is on the road
SPEEDS = (0.9, 1.15)  # relative to the ego
MAX_COVERED = 0.1  # share of the box's image that other boxes may cover
MIN_VISIBLE_SHARE = 0.75  # of the commanded frames
MIN_CAMERA_HEIGHT_M = 0.5
MIN_PATH_M = 1.0
TRIALS = 300


def missing_vehicle(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """A car that does not exist is commanded in the last ``percent`` of the frames, unoccluded by other boxes.

    It is on the ground, at the height of the other boxes, or of the ego if there are none. Objects without a box are
    not avoided, since they are unknown.
    """
    count = percent_to_frames(clip, percent)
    view = reference_view(clip)
    occupied = _occupied_mask(view)
    ground = _ground(clip, clip.scene.camera(view.camera))
    for _ in range(TRIALS):
        car = _sample_car(clip, clip.scene.camera(view.camera), count, ground, rng)
        if _is_in_free_view(car, view, occupied):
            return clip.with_scene(tracks=(*clip.scene.tracks, car))
    raise CorruptionNotApplicable(f"{clip.scene.clip_id}: there is no free space in view for another box")


def _occupied_mask(view: View) -> Mask:
    """``(T, H, W)``: the pixels that the commanded boxes cover."""
    shape = (view.gray.shape[1], view.gray.shape[2])
    boxes = project_boxes(view)
    return np.stack([boxes.mask(t, shape) > 0 if boxes else np.zeros(shape, bool) for t in range(view.num_frames)])


def _ground(clip: Clip, camera: Camera) -> float:
    """Height of the ground in the ego frame, m: the median of the bottoms of boxes, 0 without boxes.

    Raises CorruptionNotApplicable if there are no boxes and the ego frame is at the camera, whose height is unknown.
    """
    heights = [
        (inverse(require_poses(clip.scene)) @ track.box_to_world)[track.present, 2, 3] - track.size[2] / 2
        for track in clip.scene.tracks
    ]
    if heights and len(ground_heights := np.concatenate(heights)):
        return float(np.median(ground_heights))
    if float(_mount(camera)[2, 3]) < MIN_CAMERA_HEIGHT_M:
        raise CorruptionNotApplicable(
            f"{clip.scene.clip_id}: the height of the ground is unknown, since the ego frame is at the camera"
        )
    return 0.0


def _sample_car(clip: Clip, camera: Camera, count: int, ground: float, rng: np.random.Generator) -> Track:
    """A car on the arc of the ego or parallel to it, in front of the camera, at constant speed."""
    path, times = require_poses(clip.scene), clip.scene.timestamps
    present = np.arange(len(times)) >= len(times) - count
    middle = len(times) - 1 - count // 2
    view_direction = 1.0 if _mount(camera)[0, 2] >= 0 else -1.0
    speed, curvature = _ego_arc(path, times)
    along = view_direction * rng.uniform(*AHEAD_M) + rng.uniform(*SPEEDS) * speed * (times - times[middle])
    headings = curvature * along
    # The chord of an arc of angle a has sinc(a / 2) times its length and half its angle; np.sinc includes a factor pi.
    chords = along * np.sinc(headings / 2 / np.pi)
    places = np.stack([chords * np.cos(headings / 2), chords * np.sin(headings / 2), 0 * along], -1)
    arc = pose(yaw_rotation(headings), places)
    lateral_offset = pose(np.eye(3), [0.0, rng.uniform(-MAX_ASIDE_M, MAX_ASIDE_M), ground + CAR_SIZE[2] / 2])
    track_ids = {track.id for track in clip.scene.tracks}
    name = next(name for i in range(len(track_ids) + 1) if (name := f"missing-vehicle-{i}") not in track_ids)
    boxes = path[middle] @ arc @ lateral_offset
    return Track(id=name, category="vehicle.car", size=CAR_SIZE, box_to_world=boxes, present=present)


def _ego_arc(path: Array, times: Array) -> tuple[float, float]:
    """Mean speed of the ego, m/s, and the curvature of its path, rad/m; both 0 for a stationary ego."""
    path_length = float(np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1).sum())
    if path_length < MIN_PATH_M:
        return 0.0, 0.0
    return path_length / float(times[-1] - times[0]), float(yaw_from_pose(inverse(path[0]) @ path[-1])) / path_length


def _mount(camera: Camera) -> Array:
    """``camera_to_ego`` ``(4, 4)`` of a calibrated camera, in the first frame."""
    assert camera.camera_to_ego is not None
    return np.asarray(camera.camera_to_ego.reshape(-1, 4, 4)[0])


def _is_in_free_view(car: Track, view: View, occupied: Mask) -> bool:
    view = replace(view, tracks=(car,))
    boxes = project_boxes(view)
    assert boxes is not None
    seen = np.flatnonzero(BoxVisibility(camera_index=0, view=view, boxes=boxes).well_visible[:, 0])
    if len(seen) < MIN_VISIBLE_SHARE * car.present.sum():
        return False
    height, width = view.gray.shape[1:]
    rectangles = np.clip(boxes.rectangle[seen, 0], 0, [width - 1, height - 1] * 2).astype(int)
    covered = [
        occupied[t, y0 : y1 + 1, x0 : x1 + 1].mean() for t, (x0, y0, x1, y1) in zip(seen, rectangles, strict=True)
    ]
    return bool(max(covered) <= MAX_COVERED)
