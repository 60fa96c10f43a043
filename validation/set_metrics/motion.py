"""The motion in a clip as histograms of velocity and acceleration: features of a Frechet motion distance.

As in FVMD (Liu et al., "Frechet video motion distance: a metric for evaluating motion consistency in videos", 2024)
with three differences. The points are Lucas-Kanade tracks of corners instead of a grid tracked by a network
(PIPs++), so no weights are needed; the number of points in a cube varies, so votes are averaged instead of summed.
Acceleration is the change of velocity as in the paper (the released code uses the change of position for both). Votes
are not rounded up to whole doublings: rounded up, the noise of a static point would count like a pixel of motion.
"""

import sys
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.point_tracking import lucas_kanade, queries, tracks
from driveforge.validation.point_tracking.protocol import Points
from driveforge.validation.point_tracking.queries import STRIDE
from driveforge.validation.point_tracking.tracks import Tracks, track_view
from driveforge.validation.set_metrics.features import Extractor, code_hash
from driveforge.validation.views import view
from driveforge.validation.views.view import reference_view, single_threaded_opencv

CUBE_FRAMES = 4
ROWS, COLUMNS = 4, 4
ANGLES = 8
FASTEST_PX = 255.0
DOUBLINGS = 8.0  # log2(FASTEST_PX + 1): the vote of the fastest point before scaling to 1

# A frame, positions (N, 2) px in it, and velocities (N, 2) px per frame or accelerations px per frame squared.
MovingPoints = tuple[int, Points, Points]


def motion_extractor() -> Extractor:
    """One row of ``motion_histograms`` per clip."""
    return Extractor(
        name="motion-histograms",
        hash=code_hash(sys.modules[__name__], queries, lucas_kanade, tracks, view),
        embed=lambda clip: motion_histograms(clip)[None],
    )


def motion_histograms(clip: Clip) -> Array:
    """Histograms ``(2 * cubes * 4 * 4 * 8,)`` in 0..1: velocity first, then acceleration; time, row, column, angle.

    A cube is 4 frames (the last one takes the rest) by a quarter of the rows by a quarter of the columns. In it, each
    point of the reference view votes for one of 8 directions with log2(1 + |v|) / 8, |v| in px per frame of an image of
    256 rows. Boxes and poses are not used. A clip without tracks has no votes, like a static clip; it is not left out.
    Raises UserError for clips of fewer than 5 frames.
    """
    view = reference_view(clip)
    if view.num_frames <= CUBE_FRAMES:
        raise UserError(
            f"{clip.scene.clip_id}: motion histograms need more than {CUBE_FRAMES} frames, got {view.num_frames}"
        )
    with single_threaded_opencv():
        tracks = track_view(view, None)
    cubes = (view.num_frames - 1) // CUBE_FRAMES
    height, width = view.gray.shape[1:]
    kinds = (_velocities(tracks), _accelerations(tracks))
    return np.concatenate(
        [_histogram(moving_pairs, cubes, (height, width), view.scale).ravel() for moving_pairs in kinds]
    )


def _velocities(tracks: Tracks) -> Iterator[MovingPoints]:
    """Every step once."""
    for k, window in tracks.steps():
        alive = window.alive[k]
        yield window.start + k, window.points[k, alive], window.points[k, alive] - window.points[k - 1, alive]


def _accelerations(tracks: Tracks) -> Iterator[MovingPoints]:
    """Every pair of consecutive steps once."""
    for window in tracks.background:
        last = window is tracks.background[-1]
        for k in range(2, window.length if last else STRIDE + 2):
            before, middle, after = window.points[k - 2 : k + 1, window.alive[k]]
            yield window.start + k, after, (after - middle) - (middle - before)


def _histogram(moving_pairs: Iterable[MovingPoints], cubes: int, shape: tuple[int, int], scale: float) -> Array:
    """``(cubes, ROWS, COLUMNS, ANGLES)``: the mean vote in each direction, of all points of a cube."""
    cells = cubes * ROWS * COLUMNS
    votes, points = np.zeros((cells, ANGLES)), np.zeros((cells, 1))
    for frame, at, vectors in moving_pairs:
        cube = min((frame - 1) // CUBE_FRAMES, cubes - 1)
        row = (at[:, 1] * ROWS / shape[0]).astype(int).clip(0, ROWS - 1)
        column = (at[:, 0] * COLUMNS / shape[1]).astype(int).clip(0, COLUMNS - 1)
        cell = (cube * ROWS + row) * COLUMNS + column
        bins = cell * ANGLES + _direction(vectors)
        votes += np.bincount(bins, _vote(vectors * scale), votes.size).reshape(votes.shape)
        points += np.bincount(cell, minlength=cells)[:, None]
    return np.asarray((votes / np.maximum(points, 1.0)).reshape(cubes, ROWS, COLUMNS, ANGLES))


def _direction(vectors: Points) -> NDArray[np.int64]:
    """The eighth of the circle that each vector points to; the axes are in the middle of theirs."""
    turns = np.arctan2(vectors[:, 1], vectors[:, 0]) / (2 * np.pi)
    return np.asarray(np.round(turns * ANGLES).astype(np.int64) % ANGLES)


def _vote(vectors: Points) -> Array:
    speed = np.linalg.norm(vectors, axis=1).clip(max=FASTEST_PX)
    return np.asarray(np.log2(1.0 + speed) / DOUBLINGS, np.float64)
