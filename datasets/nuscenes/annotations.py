"""Rows of the tables sample_annotation and instance, from the boxes of key frames."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.box_visibility import visible_fractions
from driveforge.datasets.geometry import Array, inverse
from driveforge.datasets.nuscenes.poses import pose_fields
from driveforge.datasets.nuscenes.taxonomy import (
    Row,
    TableRows,
    attribute_tokens,
    link_rows,
    make_token,
    visibility_token,
)
from driveforge.datasets.scene import Scene, Track


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameBoxes:
    """The B boxes present in frame ``t``: poses ``(B, 4, 4)`` in the ego frame, sizes ``(B, 3)`` m, and tracks."""

    t: int
    boxes_to_ego: Array
    sizes: Array
    tracks: tuple[Track, ...]


def frame_boxes(scene: Scene, frames: Iterable[int]) -> list[FrameBoxes]:
    assert scene.ego_to_world is not None
    out = []
    for t in frames:
        tracks = tuple(track for track in scene.tracks if track.present[t])
        to_world = np.array([track.box_to_world[t] for track in tracks]).reshape(-1, 4, 4)
        sizes = np.array([track.size for track in tracks]).reshape(-1, 3)
        out.append(FrameBoxes(t=t, boxes_to_ego=inverse(scene.ego_to_world[t]) @ to_world, sizes=sizes, tracks=tracks))
    return out


def annotation_rows(scene: Scene, key_frames: Iterable[tuple[FrameBoxes, NDArray[np.int64]]]) -> TableRows:
    """Rows of sample_annotation and instance, from the boxes of key frames and the numbers of lidar points on them.

    A visible box gets at least one lidar point, because the devkit's filters drop boxes without points.
    """
    by_track: dict[str, list[Row]] = {track.id: [] for track in scene.tracks}
    for key, box_hits in key_frames:
        shares = visible_fractions(key.boxes_to_ego, key.sizes, scene.cameras, key.t)
        for track, share, num_points in zip(key.tracks, shares, box_hits, strict=True):
            by_track[track.id].append(_annotation(scene, track, key.t, float(share), int(num_points)))
    annotations_by_track = {track: link_rows(by_track[track.id]) for track in scene.tracks if by_track[track.id]}
    return {
        "sample_annotation": [row for annotations in annotations_by_track.values() for row in annotations],
        "instance": [_instance(scene, track, annotations) for track, annotations in annotations_by_track.items()],
    }


def _annotation(scene: Scene, track: Track, t: int, share: float, num_points: int) -> Row:
    length, width, height = track.size.tolist()
    return {
        "token": make_token(scene.clip_id, "annotation", track.id, t),
        "sample_token": make_token(scene.clip_id, "sample", t),
        "instance_token": make_token(scene.clip_id, "instance", track.id),
        "visibility_token": visibility_token(share),
        "attribute_tokens": attribute_tokens(track.category, _speed(scene, track, t)),
        "size": [width, length, height],
        **pose_fields(track.box_to_world[t]),
        "num_lidar_pts": max(num_points, int(share > 0)),
        "num_radar_pts": 0,
    }


def _instance(scene: Scene, track: Track, annotations: Sequence[Row]) -> Row:
    return {
        "token": make_token(scene.clip_id, "instance", track.id),
        "category_token": make_token("category", track.category),
        "nbr_annotations": len(annotations),
        "first_annotation_token": annotations[0]["token"],
        "last_annotation_token": annotations[-1]["token"],
    }


def _speed(scene: Scene, track: Track, t: int) -> float:
    """Speed in m/s between frame ``t`` and an adjacent frame in which the track is present; 0 if there is none."""
    for neighbor in (t + 1, t - 1):
        if 0 <= neighbor < scene.num_frames and track.present[neighbor]:
            distance = np.linalg.norm(track.box_to_world[neighbor, :3, 3] - track.box_to_world[t, :3, 3])
            return float(distance / abs(scene.timestamps[neighbor] - scene.timestamps[t]))
    return 0.0
