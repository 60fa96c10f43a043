"""Scene edits: the same recording with another ego path, another vehicle path or other weather.

An edit is a pure function from Scene to Scene. It keeps timestamps and calibration. An edit that keeps the recorded
first frame also keeps the start of every path, so that this frame still matches the scene. If the scene cannot be
edited (no pose, nothing to move), the edit raises ``EditNotApplicable``.

Image times and tokens are kept by every edit: they name the recorded images that the clip was derived from. Numbers of
lidar points are dropped where the ego path or a box changes, and the annotated attributes of an object with it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.domains import DAY, DUSK, RAIN, driving_domain, is_driving, weather_of
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, inverse, project, transform, yaw_rotation
from driveforge.datasets.scene import Camera, Scene, Track

MIN_PATH_M = 2.0
_OPPOSITE_SIDE = {"left": "right", "right": "left"}
# A vehicle cannot slide sideways: the lateral offset of a path is at most this fraction of its length.
MAX_LATERAL_RATIO = 1 / 8


class EditNotApplicable(UserError):
    """The scene does not have what the edit changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """``keeps_first_frame`` is False if the recorded first frame contradicts the edited scene."""

    apply: Callable[[Scene], Scene]
    keeps_first_frame: bool = True


def identity(scene: Scene) -> Scene:
    return scene


def change_weather(scene: Scene, weather: str) -> Scene:
    """The driving scene in the domain ``driving-<weather>``; the caption names the new weather."""
    domain = driving_domain(weather)
    if not is_driving(scene.domain) or scene.domain == domain:
        raise EditNotApplicable(f"{scene.clip_id}: domain {scene.domain!r} cannot be turned into {domain!r}")
    old_weather = weather_of(scene.domain)
    caption, count = (
        re.subn(rf"\b{re.escape(old_weather)}\b", weather, scene.caption) if old_weather else (scene.caption, 0)
    )
    return replace(scene, domain=domain, caption=caption if count else f"{weather}, {caption}".rstrip(", "))


def slow_ego(scene: Scene, last_speed: float = 0.2) -> Scene:
    """The ego path at a speed that falls linearly to ``last_speed`` times the recorded speed."""
    path = _ego_path(scene)
    return _with_ego_path(scene, _interpolate(scene.timestamps, path, _braking_times(scene.timestamps, last_speed)))


def shift_ego(scene: Scene, meters: float) -> Scene:
    """The ego path with a lateral offset that grows smoothly to ``meters`` (positive is left)."""
    return _with_ego_path(scene, _shift_path(_ego_path(scene), meters))


def mirror_ego(scene: Scene) -> Scene:
    """The ego path mirrored at the vertical plane through its first heading: left turns become right turns."""
    path = _ego_path(scene)
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    caption = re.sub(r"\b(left|right)\b", lambda side: _OPPOSITE_SIDE[side[0]], scene.caption)
    scene = replace(scene, caption=caption)
    return _with_ego_path(scene, np.asarray(path[0] @ mirror @ (inverse(path[0]) @ path) @ mirror))


def brake_agent(scene: Scene) -> Scene:
    """The most visible moving vehicle brakes linearly to a stop."""
    track, present = _most_visible_vehicle(scene)
    times = scene.timestamps[present]
    return _with_track_path(scene, track, _interpolate(times, track.box_to_world[present], _braking_times(times, 0.0)))


def shift_agent(scene: Scene, meters: float = 1.5) -> Scene:
    """The most visible moving vehicle drifts sideways by ``meters``, away from the ego path."""
    track, present = _most_visible_vehicle(scene)
    assert scene.ego_to_world is not None
    path = track.box_to_world[present]
    box_to_ego = inverse(scene.ego_to_world[present][0]) @ path[0]
    # Which side of the box faces away from the ego path: the lateral position, flipped for oncoming vehicles.
    side = np.sign(box_to_ego[1, 3] * box_to_ego[1, 1]) or 1.0
    return _with_track_path(scene, track, _shift_path(path, side * meters))


EDITS: dict[str, Edit] = {
    "as-recorded": Edit(apply=identity),
    "slower": Edit(apply=slow_ego),
    "shift-left": Edit(apply=lambda scene: shift_ego(scene, 1.0)),
    "shift-right": Edit(apply=lambda scene: shift_ego(scene, -1.0)),
    "mirror-yaw": Edit(apply=mirror_ego),
    "day": Edit(apply=lambda scene: change_weather(scene, DAY), keeps_first_frame=False),
    "dusk": Edit(apply=lambda scene: change_weather(scene, DUSK), keeps_first_frame=False),
    "rain": Edit(apply=lambda scene: change_weather(scene, RAIN), keeps_first_frame=False),
    "agent-brakes": Edit(apply=brake_agent),
    "agent-shifts": Edit(apply=shift_agent),
}


def edit_scene(scene: Scene, name: str) -> Scene:
    """``scene`` after the edit ``name``, which is appended to its clip id; raises ``EditNotApplicable``."""
    edited = EDITS[name].apply(scene)
    return replace(edited, clip_id=f"{scene.clip_id}-{name}")


def _ego_path(scene: Scene) -> Array:
    if scene.ego_to_world is None:
        raise EditNotApplicable(f"{scene.clip_id}: no ego pose to edit")
    if _path_length(scene.ego_to_world) < MIN_PATH_M:
        raise EditNotApplicable(f"{scene.clip_id}: the ego vehicle moves less than {MIN_PATH_M} m")
    return scene.ego_to_world


def _with_ego_path(scene: Scene, path: Array) -> Scene:
    """``scene`` on another ego path; extrinsics that include recorded ego motion are fixed to their first frame."""
    cameras = tuple(_fix_extrinsics(camera) for camera in scene.cameras)
    return replace(scene, ego_to_world=path, cameras=cameras, tracks=_without_lidar_points(scene.tracks))


def _fix_extrinsics(camera: Camera) -> Camera:
    extrinsics = camera.camera_to_ego
    return camera if extrinsics is None or extrinsics.ndim == 2 else replace(camera, camera_to_ego=extrinsics[0])


def _with_track_path(scene: Scene, track: Track, path: Array) -> Scene:
    """``path`` ``(N, 4, 4)`` replaces the poses of the N frames in which ``track`` is present."""
    poses = np.array(track.box_to_world)
    poses[track.present] = path
    edited_track = replace(track, box_to_world=poses, attributes=None)
    tracks = tuple(edited_track if t.id == track.id else t for t in scene.tracks)
    return replace(scene, tracks=_without_lidar_points(tracks))


def _without_lidar_points(tracks: tuple[Track, ...]) -> tuple[Track, ...]:
    """From another place, or behind another object, the recorded lidar would have hit other points of a box."""
    return tuple(replace(track, lidar_points=None) for track in tracks)


def _path_length(path: Array) -> float:
    return float(np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1).sum())


def _braking_times(times: Array, last_speed: float) -> Array:
    """Recording times to show at ``times``, in s.

    Playback speed falls linearly from 1 to ``last_speed`` over the duration D, and its integral over the elapsed time e
    is e - (1 - last_speed) e^2 / 2D.
    """
    elapsed = times - times[0]
    return np.asarray(times - (1 - last_speed) * elapsed**2 / (2 * elapsed[-1]))


def _shift_path(path: Array, meters: float) -> Array:
    """``path`` ``(N, 4, 4)`` with a lateral offset of up to ``meters`` and headings tangent to the new path.

    The offset is smoothstep, u^2 (3 - 2u), of the traveled fraction u, so it starts and ends with slope 0.
    """
    steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    traveled, length = np.append(0.0, np.cumsum(steps)), float(steps.sum())
    largest = float(np.clip(meters, -length * MAX_LATERAL_RATIO, length * MAX_LATERAL_RATIO))
    u = traveled / length
    offset, slope = largest * u**2 * (3 - 2 * u), largest * 6 * u * (1 - u) / length
    change = np.tile(np.eye(4), (len(path), 1, 1))
    change[:, 1, 3], change[:, :3, :3] = offset, yaw_rotation(np.arctan(slope))
    return np.asarray(path @ change)


def _interpolate(times: Array, path: Array, query_times: Array) -> Array:
    """Poses ``(M, 4, 4)`` at ``query_times``, all within ``times``: linear in translation, chordal in rotation."""
    after = np.clip(np.searchsorted(times, query_times, side="left"), 1, len(times) - 1)
    weight = ((query_times - times[after - 1]) / (times[after] - times[after - 1]))[:, None, None]
    blend = (1 - weight) * path[after - 1] + weight * path[after]
    # The rotation nearest to a blend of two matrices is its polar factor.
    u, _, vt = np.linalg.svd(blend[:, :3, :3])
    blend[:, :3, :3] = u @ vt
    return np.asarray(np.where(weight == 0, path[after - 1], blend))


def _most_visible_vehicle(scene: Scene) -> tuple[Track, NDArray[np.bool_]]:
    """The moving vehicle with the largest image area summed over frames, and the frames it is present in."""
    if scene.ego_to_world is None or not any(camera.is_calibrated for camera in scene.cameras):
        raise EditNotApplicable(f"{scene.clip_id}: needs an ego pose and a calibrated camera to find a visible vehicle")
    vehicles = [track for track in scene.tracks if track.category.startswith("vehicle") and track.present.sum() > 1]
    moving = [track for track in vehicles if _path_length(track.box_to_world[track.present]) >= MIN_PATH_M]
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
