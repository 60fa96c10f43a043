"""Ego poses and boxes of ClipGT tables, and their interpolation to frame times."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from driveforge.datasets.clipgt.tables import Table, read_numbers, read_texts, read_times, read_vectors
from driveforge.datasets.clipgt.vocabulary import category_from_clipgt
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array, pose
from driveforge.datasets.scene import Track

Times = NDArray[np.int64]

# NVIDIA's reader also continues boxes over half a second without labels, and skips these copies of other tracks.
_MAX_GAP_US = 500_000
MAX_LENGTH_ERROR = 0.01
# Of the z axis of the vehicle along that of the world: no road is as steep.
MIN_UP = 0.5
_DUPLICATE_PREFIX = "labelstore:"


def read_egomotion(table: Table) -> tuple[Times, Array]:
    """Times ``(N,)`` in microseconds and ego poses ``(N, 4, 4)`` in the ClipGT world, in meters.

    Raises UserError if there is no row, or if the times do not strictly increase.
    """
    if not table.num_rows:
        raise UserError(f"{table.path}: has no rows, so the ego pose is unknown")
    times = read_times(table)
    if (np.diff(times) <= 0).any():
        row = int(np.argmax(np.diff(times) <= 0)) + 1
        raise UserError(f"{table.path}: key.timestamp_micros must strictly increase, but does not in row {row}")
    poses = _read_poses(table, "egomotion_estimate.location", "egomotion_estimate.orientation")
    if (poses[:, 2, 2] < MIN_UP).any():
        row = int(np.argmax(poses[:, 2, 2] < MIN_UP))
        raise UserError(
            f"{table.path}: egomotion_estimate.orientation tilts the vehicle by more than 60 degrees in row {row}; "
            "quaternions are x, y, z, w, and the z axis of the ClipGT world is up"
        )
    return times, poses


def interpolate_poses(times: Times, poses: Array, at: Times) -> Array:
    """Poses ``(T, 4, 4)`` at the times ``at`` within ``times``: linear in position, slerp in rotation."""
    if len(times) == 1:
        return np.repeat(poses, len(at), axis=0)
    # Relative to the first time, microseconds are exact in float64.
    known, wanted = (times - times[0]).astype(np.float64), (at - times[0]).astype(np.float64)
    positions = np.stack([np.interp(wanted, known, poses[:, axis, 3]) for axis in range(3)], -1)
    rotations = Slerp(known, Rotation.from_matrix(poses[:, :3, :3]))(wanted)
    return pose(rotations.as_matrix(), positions)


def read_tracks(table: Table, frames: Times, world: Array, exact: Mapping[str, str]) -> tuple[Track, ...]:
    """Tracks at the T times ``frames``, for rows at any times.

    ``world`` ``(4, 4)`` maps the ClipGT world to the scene's. Between rows, boxes are interpolated; a box is absent
    before its first row, after its last, and between rows that are more than half a second apart. Tracks of one row
    are skipped. The tracks with an id in ``exact``, which gives their category and order, are present only in frames
    that have a row, if all their rows are at frame times. Raises UserError if a track has two rows of the same time.
    """
    if not table.num_rows:
        return ()
    times, categories = read_times(table), read_texts(table, "obstacle.category")
    poses = world @ _read_poses(table, "obstacle.center", "obstacle.orientation")
    sizes = read_vectors(table, "obstacle.size")
    if (sizes <= 0).any():
        row, axis = np.argwhere(sizes <= 0)[0]
        raise UserError(f"{table.path}: obstacle.size.{'xyz'[axis]} must be positive, got {sizes[row, axis]:g}")
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(read_texts(table, "obstacle.trackline_id")):
        if not name.startswith(_DUPLICATE_PREFIX):
            rows[name].append(row)
    tracks = []
    for name, unordered in rows.items():
        order = np.array(sorted(unordered, key=lambda row: int(times[row])))
        _check_distinct(table, name, times[order])
        is_exact = name in exact and bool(np.isin(times[order], frames).all())
        present, box_to_world = _sample(times[order], poses[order], frames, is_exact)
        if present.any():
            category = exact.get(name) or category_from_clipgt(categories[order[0]])
            size = np.median(sizes[order], axis=0)
            tracks.append(Track(id=name, category=category, size=size, box_to_world=box_to_world, present=present))
    places = {name: number for number, name in enumerate(exact)}
    return tuple(sorted(tracks, key=lambda track: places.get(track.id, len(places))))


def _sample(times: Times, poses: Array, frames: Times, is_exact: bool) -> tuple[NDArray[np.bool_], Array]:
    """Presence ``(T,)`` and poses ``(T, 4, 4)`` at ``frames``; poses of absent frames are those of the nearest row."""
    if is_exact:
        present = np.isin(frames, times)
    elif len(times) < 2:
        present = np.zeros(len(frames), np.bool_)
    else:
        after = np.clip(np.searchsorted(times, frames), 1, len(times) - 1)
        is_labeled = np.isin(frames, times) | (times[after] - times[after - 1] <= _MAX_GAP_US)
        present = (frames >= times[0]) & (frames <= times[-1]) & is_labeled
    nearest = np.abs(frames[:, None] - times[None]).argmin(1)
    box_to_world = poses[nearest]
    if present.any():
        box_to_world[present] = interpolate_poses(times, poses, frames[present])
    return present, box_to_world


def _check_distinct(table: Table, name: str, times: Times) -> None:
    if (np.diff(times) == 0).any():
        time = times[int(np.argmax(np.diff(times) == 0))]
        raise UserError(
            f"{table.path}: key.timestamp_micros {time} occurs twice for obstacle.trackline_id {shorten(name)}"
        )


def _read_poses(table: Table, position: str, orientation: str) -> Array:
    """Poses ``(N, 4, 4)`` of two struct columns, the second a quaternion of length 1."""
    quaternions = read_vectors(table, orientation, "xyzw")
    lengths = np.linalg.norm(quaternions, axis=1)
    if (is_wrong := np.abs(lengths - 1) > MAX_LENGTH_ERROR).any():
        row = int(np.argmax(is_wrong))
        raise UserError(f"{table.path}: {orientation} has length {lengths[row]:.3g} in row {row}, but must have 1")
    return pose(Rotation.from_quat(quaternions).as_matrix(), read_numbers(table, *(f"{position}.{a}" for a in "xyz")))
