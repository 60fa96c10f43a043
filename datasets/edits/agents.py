"""Edits of agents: a vehicle or person on another path, removed, or inserted."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.edits.collisions import require_free_path
from driveforge.datasets.edits.paths import (
    MAX_LATERAL_RATIO,
    MIN_PATH_M,
    EditNotApplicable,
    interpolate,
    path_length,
    require_ego_pose,
    shift_path,
    slowing_times,
    with_track_path,
    without_lidar_points,
)
from driveforge.datasets.geometry import Array, inverse, pose, project, transform, yaw_rotation
from driveforge.datasets.scene import Scene, Track

# nuScenes category and typical length, width and height in m, by the name of an agent that can be inserted.
AGENTS = {
    "car": ("vehicle.car", (4.5, 1.9, 1.6)),
    "truck": ("vehicle.truck", (7.0, 2.5, 3.0)),
    "bus": ("vehicle.bus.rigid", (11.0, 2.9, 3.4)),
    "motorcycle": ("vehicle.motorcycle", (2.1, 0.8, 1.5)),
    "bicycle": ("vehicle.bicycle", (1.8, 0.6, 1.4)),
    "pedestrian": ("human.pedestrian.adult", (0.7, 0.7, 1.75)),
}
# A vehicle that cuts in comes from beside the ego lane, at most this far ahead.
_CUT_IN_LATERAL_M, _CUT_IN_AHEAD_M = (1.2, 6.0), (2.0, 50.0)


def brake_agent(scene: Scene) -> Scene:
    """The most visible moving vehicle brakes linearly to a stop."""
    track, present = most_visible_vehicle(scene)
    times = scene.timestamps[present]
    return with_track_path(scene, track, interpolate(times, track.box_to_world[present], slowing_times(times, 0.0)))


def shift_agent(scene: Scene, meters: float = 1.5) -> Scene:
    """The most visible moving vehicle drifts sideways by ``meters``, away from the ego path."""
    track, present = most_visible_vehicle(scene)
    assert scene.ego_to_world is not None
    path = track.box_to_world[present]
    box_to_ego = inverse(scene.ego_to_world[present][0]) @ path[0]
    # Which side of the box faces away from the ego path: the lateral position, flipped for oncoming vehicles.
    side = np.sign(box_to_ego[1, 3] * box_to_ego[1, 1]) or 1.0
    return with_track_path(scene, track, shift_path(path, side * meters))


def change_agent_path(scene: Scene, shift: float, speed: float) -> Scene:
    """The most visible moving vehicle drifts ``shift`` m to its left, and ends at ``speed`` times its speed."""
    track, present = most_visible_vehicle(scene)
    times = scene.timestamps[present]
    path = interpolate(times, track.box_to_world[present], slowing_times(times, speed))
    return _checked(with_track_path(scene, track, shift_path(path, shift)), track.id)


def cut_in(scene: Scene, lateral: float) -> Scene:
    """The nearest moving vehicle ahead, beside the ego lane, changes to ``lateral`` m left of the ego path.

    In a short clip it gets as far as its speed allows, at least half of the way.
    """
    ego = require_ego_pose(scene)
    offers = [(offset, track) for track in scene.tracks if (offset := _cut_in_offset(ego, track)) is not None]
    if not offers:
        raise EditNotApplicable(f"{scene.clip_id}: no vehicle drives ahead, beside the ego lane")
    (_, side), track = min(offers, key=lambda offer: offer[0][0])
    path, meters = track.box_to_world[track.present], lateral - side
    if abs(meters) / 2 > path_length(path) * MAX_LATERAL_RATIO:
        raise EditNotApplicable(f"{scene.clip_id}: {track.id} is too slow to move {abs(meters) / 2:.1f} m sideways")
    return _checked(with_track_path(scene, track, shift_path(path, meters)), track.id)


def _cut_in_offset(ego: Array, track: Track) -> tuple[float, float] | None:
    """How far ahead ``track`` starts, and how far left of the ego path it ends, in m; None if it cannot cut in."""
    path = track.box_to_world[track.present]
    if not track.category.startswith("vehicle") or len(path) < 2 or path_length(path) < MIN_PATH_M:
        return None
    first, last = np.flatnonzero(track.present)[[0, -1]]
    start = (inverse(ego[first]) @ path[0])[:3, 3]
    end = path[-1, :3, 3]
    side = float((inverse(_nearest_pose(ego, end)) @ path[-1])[1, 3])
    is_same_direction = float(ego[last, :3, 0] @ path[-1, :3, 0]) > 0.7
    is_beside = _CUT_IN_LATERAL_M[0] <= abs(side) <= _CUT_IN_LATERAL_M[1]
    is_ahead = _CUT_IN_AHEAD_M[0] <= start[0] <= _CUT_IN_AHEAD_M[1]
    return (float(start[0]), side) if is_same_direction and is_beside and is_ahead else None


def _nearest_pose(path: Array, point: Array) -> Array:
    """The pose of ``path`` nearest to ``point``; beyond its end the last one, whose heading goes straight on."""
    return np.asarray(path[int(np.argmin(np.linalg.norm(path[:, :3, 3] - point, axis=1)))])


def remove_agent(scene: Scene) -> Scene:
    """``scene`` without its most visible moving vehicle."""
    track, _ = most_visible_vehicle(scene)
    return replace(scene, tracks=without_lidar_points(tuple(t for t in scene.tracks if t.id != track.id)))


def insert_agent(scene: Scene, category: str, ahead: float, lateral: float, speed: float) -> Scene:
    """``scene`` with a new agent that follows the course of the ego path at ``speed`` m/s, at a constant offset.

    It starts ``ahead`` m ahead of the ego vehicle and ``lateral`` m left of its path. A negative ``speed`` is that of
    an oncoming agent.
    """
    ego, (nuscenes_category, size) = require_ego_pose(scene), AGENTS[category]
    distances = ahead + speed * (scene.timestamps - scene.timestamps[0])
    turn = yaw_rotation(np.pi if speed < 0 else 0.0)
    box_to_world = _poses_along(ego, distances) @ pose(turn, [0.0, lateral, size[2] / 2])
    taken = {track.id for track in scene.tracks}
    free_ids = (f"inserted-{n}" for n in range(1, len(taken) + 2))
    track = Track(
        id=next(track_id for track_id in free_ids if track_id not in taken),
        category=nuscenes_category,
        size=np.array(size),
        box_to_world=box_to_world,
        present=np.ones(scene.num_frames, bool),
    )
    edited = _checked(replace(scene, tracks=(*without_lidar_points(scene.tracks), track)), track.id)
    if any(camera.is_calibrated for camera in scene.cameras) and not _image_area(scene, track):
        raise EditNotApplicable(f"{scene.clip_id}: no camera would see the inserted {category}")
    return edited


def _poses_along(path: Array, distances: Array) -> Array:
    """Poses ``(M, 4, 4)`` at ``distances`` m along ``path``, which goes straight on at both ends."""
    steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    moves = np.append(True, steps > 1e-6)
    path, traveled = path[moves], np.append(0.0, np.cumsum(steps))[moves]
    within = np.clip(distances, 0.0, traveled[-1])
    on_path = interpolate(traveled, path, within) if len(path) > 1 else np.repeat(path, len(distances), axis=0)
    beyond = np.zeros((len(distances), 3))
    beyond[:, 0] = distances - within
    return np.asarray(on_path @ pose(np.eye(3), beyond))


def _checked(scene: Scene, track_id: str) -> Scene:
    require_free_path(scene, next(track for track in scene.tracks if track.id == track_id))
    return scene


def most_visible_vehicle(scene: Scene) -> tuple[Track, NDArray[np.bool_]]:
    """The moving vehicle with the largest image area summed over frames, and the frames it is present in."""
    if scene.ego_to_world is None or not any(camera.is_calibrated for camera in scene.cameras):
        raise EditNotApplicable(f"{scene.clip_id}: needs an ego pose and a calibrated camera to find a visible vehicle")
    vehicles = [track for track in scene.tracks if track.category.startswith("vehicle") and track.present.sum() > 1]
    moving = [track for track in vehicles if path_length(track.box_to_world[track.present]) >= MIN_PATH_M]
    areas = [_image_area(scene, track) for track in moving]
    if not areas or max(areas) <= 0:
        raise EditNotApplicable(f"{scene.clip_id}: no moving vehicle is in view")
    chosen = moving[int(np.argmax(areas))]
    return chosen, chosen.present


def _image_area(scene: Scene, track: Track) -> float:
    """Approximate area of the track's box in pixels, summed over frames and cameras with its center in view."""
    centers, total = track.box_to_world[:, :3, 3], 0.0
    for camera in scene.cameras:
        if not camera.is_calibrated:
            continue
        assert camera.intrinsics is not None
        in_camera = transform(inverse(scene.camera_to_world(camera)), centers[:, None])[:, 0]
        pixels, depth = project(in_camera, camera.intrinsics)
        inside = (depth > 1.0) & (pixels >= 0).all(1) & (pixels < [camera.width, camera.height]).all(1) & track.present
        focal = camera.intrinsics[0, 0]
        total += float((focal**2 * track.size[1] * track.size[2] / depth[inside] ** 2).sum())
    return total
