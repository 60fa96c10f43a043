"""Boxes of a nuScenes scene, interpolated to the times of its images."""

from collections import defaultdict
from collections.abc import Sequence
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


def read_tracks(nusc: CheckedNuScenes, instants: Sequence[Instant]) -> tuple[Track, ...]:
    """Tracks at T ``instants``, interpolated between samples like the devkit's ``get_boxes``.

    Between two samples, a box is present only if both annotate it; the devkit would keep it at a fixed pose.
    """
    annotated = {token: _annotations(nusc, token) for instant in instants for token in (instant.before, instant.after)}
    boxes: dict[str, dict[int, tuple[Array, Array, Sequence[float]]]] = defaultdict(dict)
    categories: dict[str, str] = {}
    for t, instant in enumerate(instants):
        before = annotated[instant.before]
        for instance, row in annotated[instant.after].items():
            if instance in before:
                boxes[instance][t] = (*_interpolate_box(before[instance], row, instant.share), row["size"])
                categories[instance] = row["category_name"]
    return tuple(
        _track(instance, categories[instance], observations, len(instants)) for instance, observations in boxes.items()
    )


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


def _track(
    instance: str, category: str, observations: dict[int, tuple[Array, Array, Sequence[float]]], num_frames: int
) -> Track:
    centers, quaternions, sizes = (np.array(column) for column in zip(*observations.values(), strict=True))
    frames = list(observations)
    box_to_world = np.tile(np.eye(4), (num_frames, 1, 1))
    box_to_world[frames] = pose(quaternion_to_rotation(quaternions), centers)
    present = np.zeros(num_frames, np.bool_)
    present[frames] = True
    width, length, height = np.median(sizes, axis=0)
    size = np.array([length, width, height])
    return Track(id=instance, category=category, size=size, box_to_world=box_to_world, present=present)
