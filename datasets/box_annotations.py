"""Annotations of boxes that follow from a scene: 2D boxes, visibility, velocities and attributes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.box_visibility import ray_box_entries, visible_points
from driveforge.datasets.geometry import Array, box_corners, inverse, pixel_ray, project
from driveforge.datasets.nuscenes.taxonomy import attribute_name
from driveforge.datasets.scene import Camera, Scene

_NEAR_M = 0.1
# Pairs of corners of ``box_corners`` that differ in one coordinate: the twelve edges of a box.
_EDGES = np.array([(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxAnnotations:
    """The boxes of N tracks in T frames of V cameras; values of frames in which a track is not present are empty.

    ``boxes_2d`` ``(V, N, T, 4)`` float32 px is x0, y0, x1, y1 of the part of the projected box inside the image, whose
    edges are at -0.5 and at its size - 0.5; zeros if the image shows no part. ``cut_sides`` ``(V, N, T, 4)``: whether
    the box continues beyond the left, top, right and bottom edge. ``visible_share`` ``(V, N, T)`` float32 is the share
    of the box inside the image and not behind another box, ``occluded_share`` ``(V, N, T)`` float32 the share of the
    part inside the image that is behind another box; NaN for a camera without pose or calibration.

    ``velocities`` ``(N, T, 3)`` float32 m/s in the world frame, NaN if unknown; ``attributes`` ``(N, T)`` names of
    nuScenes attributes, as annotated or by the speed, "" if none.
    """

    boxes_2d: NDArray[np.float32]
    cut_sides: NDArray[np.bool_]
    visible_share: NDArray[np.float32]
    occluded_share: NDArray[np.float32]
    velocities: NDArray[np.float32]
    attributes: NDArray[np.str_]


def annotate_boxes(scene: Scene) -> BoxAnnotations:
    """The annotations of all tracks of ``scene``."""
    shape = (len(scene.cameras), len(scene.tracks), scene.num_frames)
    boxes_2d, cut_sides = np.zeros((*shape, 4), np.float32), np.zeros((*shape, 4), np.bool_)
    visible, occluded = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for number, camera in enumerate(scene.cameras):
        if scene.ego_to_world is None or not camera.is_calibrated:
            visible[number] = occluded[number] = np.nan
        elif scene.tracks:
            boxes_2d[number], cut_sides[number] = _image_boxes(scene, camera)
            visible[number], occluded[number] = _visible_shares(scene, camera)
    velocities = _velocities(scene)
    return BoxAnnotations(
        boxes_2d=boxes_2d,
        cut_sides=cut_sides,
        visible_share=visible,
        occluded_share=occluded,
        velocities=velocities.astype(np.float32),
        attributes=_attributes(scene, velocities),
    )


def _present(scene: Scene) -> NDArray[np.bool_]:
    """``(N, T)``."""
    return np.array([track.present for track in scene.tracks], np.bool_).reshape(-1, scene.num_frames)


def _boxes_to_world(scene: Scene) -> Array:
    """``(N, T, 4, 4)``."""
    return np.array([track.box_to_world for track in scene.tracks]).reshape(-1, scene.num_frames, 4, 4)


def _image_boxes(scene: Scene, camera: Camera) -> tuple[Array, NDArray[np.bool_]]:
    """Boxes ``(N, T, 4)`` px clipped to the image, and the sides cut by its edges ``(N, T, 4)``."""
    present, out = _present(scene), np.zeros((len(scene.tracks), scene.num_frames, 4))
    cut = np.zeros(out.shape, np.bool_)
    track, frame = np.nonzero(present)
    to_camera = inverse(scene.camera_to_world(camera))[frame] @ _boxes_to_world(scene)[track, frame]
    sizes = np.array([scene.tracks[n].size for n in track]).reshape(-1, 3)
    out[track, frame], cut[track, frame] = project_to_image(to_camera, sizes, camera)
    return out, cut


def project_to_image(boxes_to_camera: Array, sizes: Array, camera: Camera) -> tuple[Array, NDArray[np.bool_]]:
    """The part of each of B boxes inside the image ``(B, 4)`` px, and the cut sides ``(B, 4)``; see BoxAnnotations.

    The part of the projection inside the image is bounded by the box's edges, clipped at the near plane and at the
    image edges, and by the corners of the image that the box covers.
    """
    assert camera.intrinsics is not None
    low, high = np.array([-0.5, -0.5]), np.array([camera.width, camera.height]) - 0.5
    start, end, in_front = _clip_edges_near(box_corners(boxes_to_camera, sizes[:, None]))
    start, end = project(start, camera.intrinsics)[0], project(end, camera.intrinsics)[0]
    entry, leave = _clip_segments(start, end - start, low, high)
    in_image = in_front & (entry <= leave)
    corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
    rays = pixel_ray(camera.intrinsics, corners)
    is_covered = np.isfinite(ray_box_entries(np.zeros_like(rays), rays, boxes_to_camera, sizes)).T
    points = np.concatenate(
        [
            start + entry[..., None] * (end - start),
            start + leave[..., None] * (end - start),
            np.broadcast_to(corners, (len(sizes), 4, 2)),
        ],
        axis=1,
    )
    inside = _extent(points, np.concatenate([in_image, in_image, is_covered], 1))
    whole = _extent(np.concatenate([start, end], 1), np.concatenate([in_front, in_front], 1))
    is_shown = ((inside[:, 2:] - inside[:, :2]) > 0).all(1)
    cut = np.concatenate([whole[:, :2] < low, whole[:, 2:] > high], 1)
    return np.where(is_shown[:, None], np.clip(inside, [*low, *low], [*high, *high]), 0.0), cut & is_shown[:, None]


def _clip_edges_near(corners: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Both ends ``(B, 12, 3)`` of the edges of boxes ``(B, 8, 3)`` in front of the near plane, and which are."""
    start, end = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    depth = end[..., 2] - start[..., 2]
    crossing = (_NEAR_M - start[..., 2]) / np.where(np.abs(depth) < 1e-12, 1e-12, depth)
    at_plane = start + crossing[..., None] * (end - start)
    start_behind, end_behind = start[..., 2] < _NEAR_M, end[..., 2] < _NEAR_M
    clipped_start = np.where((start_behind & ~end_behind)[..., None], at_plane, start)
    clipped_end = np.where((end_behind & ~start_behind)[..., None], at_plane, end)
    return clipped_start, clipped_end, ~(start_behind & end_behind)


def _clip_segments(start: Array, along: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Fractions ``(...)`` at which segments ``(..., 2)`` enter and leave a rectangle; enter > leave if they miss it.

    Liang and Barsky, "A new concept and method for line clipping", 1984.
    """
    along = np.where(np.abs(along) < 1e-12, 1e-12, along)
    first, second = (low - start) / along, (high - start) / along
    entry = np.maximum(np.minimum(first, second).max(-1), 0.0)
    leave = np.minimum(np.maximum(first, second).min(-1), 1.0)
    return np.asarray(entry), np.asarray(leave)


def _extent(points: Array, valid: NDArray[np.bool_]) -> Array:
    """x0, y0, x1, y1 ``(B, 4)`` of the valid ones of ``points`` ``(B, P, 2)``; an empty extent if there is none."""
    low = np.where(valid[..., None], points, np.inf).min(1)
    high = np.where(valid[..., None], points, -np.inf).max(1)
    is_empty = ~valid.any(1)
    low[is_empty], high[is_empty] = 0.0, 0.0
    return np.concatenate([low, high], 1)


def _visible_shares(scene: Scene, camera: Camera) -> tuple[Array, Array]:
    """The visible and the occluded share ``(N, T)``; see BoxAnnotations."""
    assert scene.ego_to_world is not None
    present, boxes_to_world = _present(scene), _boxes_to_world(scene)
    sizes = np.array([track.size for track in scene.tracks])
    world_to_ego = inverse(scene.ego_to_world)
    visible_share, occluded_share = np.zeros(present.shape), np.zeros(present.shape)
    for t in range(scene.num_frames):
        shown = present[:, t]
        in_image, visible = visible_points(world_to_ego[t] @ boxes_to_world[shown, t], sizes[shown], camera, t)
        visible_share[shown, t] = visible.mean(1)
        occluded_share[shown, t] = 1 - visible.sum(1) / np.maximum(in_image.sum(1), 1)
        occluded_share[shown, t] *= in_image.any(1)
    return visible_share, occluded_share


def _velocities(scene: Scene) -> Array:
    """Velocity ``(N, T, 3)`` m/s between the frames before and after, or to the only one in which a track is present.

    NaN in frames without one, and where the track is not present.
    """
    present, centers = _present(scene), _boxes_to_world(scene)[..., :3, 3]
    frames = np.arange(scene.num_frames)
    before, after = np.maximum(frames - 1, 0), np.minimum(frames + 1, scene.num_frames - 1)
    first = np.where(present[:, before], before, frames)
    last = np.where(present[:, after], after, frames)
    track = np.arange(len(centers))[:, None]
    seconds = scene.timestamps[last] - scene.timestamps[first]
    is_known = present & (seconds > 0)
    moved = centers[track, last] - centers[track, first]
    return np.asarray(np.where(is_known[..., None], moved / np.where(is_known, seconds, 1.0)[..., None], np.nan))


def _attributes(scene: Scene, velocities: Array) -> NDArray[np.str_]:
    """Names ``(N, T)``: the annotated attribute, or else the one that the speed suggests."""
    speeds = np.nan_to_num(np.linalg.norm(velocities, axis=-1))
    rows = [
        [
            (track.attributes[t] if track.attributes else "") or attribute_name(track.category, float(speeds[n, t]))
            if track.present[t]
            else ""
            for t in range(scene.num_frames)
        ]
        for n, track in enumerate(scene.tracks)
    ]
    return np.array(rows, np.str_).reshape(-1, scene.num_frames)
