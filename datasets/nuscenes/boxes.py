"""Boxes of a nuScenes scene, interpolated to the times of its images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pyquaternion import Quaternion

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array, pose
from driveforge.datasets.nuscenes.devkit import CheckedNuScenes
from driveforge.datasets.nuscenes.poses import quaternion_to_rotation
from driveforge.datasets.nuscenes.taxonomy import Row
from driveforge.datasets.scene import Track


@dataclass(frozen=True, kw_only=True, slots=True)
class Instant:
    """The time of an image: a fraction ``share`` (0 to 1) between the samples ``before`` and ``after`` (tokens)."""

    before: str
    after: str
    share: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Observation:
    """A box in one frame: ``center`` and ``size`` ``(3,)`` m, ``quaternion`` ``(4,)``; see ``Track`` for the others."""

    center: Array
    quaternion: Array
    size: Sequence[float]
    lidar_points: int
    attribute: str


def read_tracks(nusc: CheckedNuScenes, instants: Sequence[Instant]) -> tuple[Track, ...]:
    """Tracks at T ``instants``, interpolated between samples like the devkit's ``get_boxes``.

    Between two samples, a box is present only if both annotate it; the devkit would keep it at a fixed pose. It has an
    attribute if both agree on it, and a number of lidar points only at a sample.
    """
    annotated = {token: _annotations(nusc, token) for instant in instants for token in (instant.before, instant.after)}
    attributes = {row["token"]: str(row["name"]) for row in nusc.attribute if "name" in row}
    boxes: dict[str, dict[int, _Observation]] = defaultdict(dict)
    categories: dict[str, str] = {}
    for t, instant in enumerate(instants):
        before = annotated[instant.before]
        for instance, row in annotated[instant.after].items():
            if instance in before:
                boxes[instance][t] = _observe(before[instance], row, instant.share, attributes)
                categories[instance] = row["category_name"]
    return tuple(
        _track(instance, categories[instance], observations, len(instants)) for instance, observations in boxes.items()
    )


def _observe(before: Row, after: Row, share: float, attributes: Mapping[str, str]) -> _Observation:
    """The box at a fraction ``share`` between two annotations, which are the same row at a sample."""
    center, quaternion = _interpolate_box(before, after, share)
    attribute = _attribute(after, attributes)
    return _Observation(
        center=center,
        quaternion=quaternion,
        size=after["size"],
        lidar_points=_num_lidar_points(after) if before is after else -1,
        attribute=attribute if _attribute(before, attributes) == attribute else "",
    )


def _attribute(row: Row, attributes: Mapping[str, str]) -> str:
    """The name of the attribute of an annotation; "" if it has none that the tables know."""
    tokens = row.get("attribute_tokens")
    return attributes.get(str(tokens[0]), "") if isinstance(tokens, list) and tokens else ""


def _num_lidar_points(row: Row) -> int:
    count = row.get("num_lidar_pts")
    return count if type(count) is int and 0 <= count < 2**31 else -1


def _annotations(nusc: CheckedNuScenes, sample: str) -> dict[str, Row]:
    """Rows of sample_annotation of a sample, by instance."""
    rows: dict[str, Row] = {}
    for token in nusc.get("sample", sample)["anns"]:
        row = nusc.get("sample_annotation", token)
        if row["instance_token"] in rows:
            raise UserError(
                f"{nusc.table_root}/sample_annotation.json: token {shorten(token)}: instance "
                f"{shorten(row['instance_token'])} is annotated twice in sample {shorten(sample)}"
            )
        rows[row["instance_token"]] = row
    return rows


def _interpolate_box(before: Row, after: Row, share: float) -> tuple[Array, Array]:
    """Center ``(3,)`` and quaternion ``(4,)`` between two annotations of one object."""
    a, b = np.array(before["translation"], np.float64), np.array(after["translation"], np.float64)
    rotation = Quaternion.slerp(Quaternion(before["rotation"]), Quaternion(after["rotation"]), share)
    return a + share * (b - a), rotation.elements


def _track(instance: str, category: str, observations: dict[int, _Observation], num_frames: int) -> Track:
    frames, observed = list(observations), list(observations.values())
    box_to_world = np.tile(np.eye(4), (num_frames, 1, 1))
    rotations = quaternion_to_rotation([box.quaternion for box in observed])
    box_to_world[frames] = pose(rotations, [box.center for box in observed])
    present = np.zeros(num_frames, np.bool_)
    present[frames] = True
    lidar_points = np.full(num_frames, -1)
    lidar_points[frames] = [box.lidar_points for box in observed]
    width, length, height = np.median([box.size for box in observed], axis=0)
    return Track(
        id=instance,
        category=category,
        size=np.array([length, width, height]),
        box_to_world=box_to_world,
        present=present,
        lidar_points=lidar_points,
        attributes=tuple(observations[t].attribute if t in observations else "" for t in range(num_frames)),
    )
