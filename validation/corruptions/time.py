"""Temporal corruptions of the pixels of all cameras: frames held, swapped, skipped, reversed, or from another clip."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.reframe import reframe_frames
from driveforge.datasets.scene import Clip, Scene
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable, check_frames, percent_to_frames
from driveforge.validation.views.view import without_held_frames

MIN_FRAMES_LEFT = 2


def freeze(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """One frame replaces the next ``frames`` frames."""
    num_held = int(frames)
    check_frames(clip, num_held + 2)
    order = np.arange(clip.scene.num_frames)
    start = int(rng.integers(0, len(order) - num_held))
    order[start + 1 : start + 1 + num_held] = start
    return _reorder_frames(clip, order)


def stutter(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """A number of ``frames``, none of them adjacent, repeat the previous one."""
    order = np.arange(clip.scene.num_frames)
    order[1 + _sample_nonadjacent(clip, len(order) - 1, int(frames), rng)] -= 1
    return _reorder_frames(clip, order)


def swap(clip: Clip, pairs: float, rng: np.random.Generator) -> Clip:
    """A number of ``pairs`` of neighboring frames are swapped."""
    order = np.arange(clip.scene.num_frames)
    first = _sample_nonadjacent(clip, len(order) - 1, int(pairs), rng)
    order[first], order[first + 1] = first + 1, first
    return _reorder_frames(clip, order)


def shuffle(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """A window of ``frames`` frames is shuffled so that none keeps its position (Sattolo 1986)."""
    window = int(frames)
    check_frames(clip, window)
    order = np.arange(clip.scene.num_frames)
    start = int(rng.integers(0, len(order) - window + 1))
    for i in range(start + window - 1, start, -1):
        j = int(rng.integers(start, i))
        order[[i, j]] = order[[j, i]]
    return _reorder_frames(clip, order)


def skip(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """A number of ``frames`` are skipped while the command continues evenly; the clip is shortened accordingly."""
    num_skipped = int(frames)
    check_frames(clip, num_skipped + 2 * MIN_FRAMES_LEFT)
    num_left = clip.scene.num_frames - num_skipped
    start = int(rng.integers(MIN_FRAMES_LEFT, num_left - MIN_FRAMES_LEFT + 1))
    order = np.append(np.arange(start), np.arange(start + num_skipped, clip.scene.num_frames))
    return Clip(scene=truncate_scene(clip.scene, num_left), frames=clip.frames[:, order])


def cut(clip: Clip, percent: float, rng: np.random.Generator, other: Clip) -> Clip:
    """The last ``percent`` of the frames are from the ``other`` clip, resized; the command stays."""
    count = percent_to_frames(clip, percent)
    num_spare = other.frames.shape[1] - count
    if num_spare < 0:
        raise CorruptionNotApplicable(
            f"{other.scene.clip_id}: has {other.scene.num_frames} frames, a cut to it needs {count}"
        )
    start = int(rng.integers(0, num_spare + 1))
    frames = clip.frames.copy()
    height, width = frames.shape[2:4]
    for camera_index, view in enumerate(frames):
        elsewhere = other.frames[camera_index % len(other.frames), start : start + count]
        view[-count:] = reframe_frames(elsewhere, height, width)
    return Clip(scene=clip.scene, frames=frames)


def reverse(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """An interval of ``percent`` of the frames is played backward."""
    count = percent_to_frames(clip, percent)
    order = np.arange(clip.scene.num_frames)
    start = int(rng.integers(0, len(order) - count + 1))
    order[start : start + count] = order[start : start + count][::-1]
    return _reorder_frames(clip, order)


def truncate_scene(scene: Scene, count: int) -> Scene:
    """``scene`` up to its first ``count`` frames."""
    return without_held_frames(replace(scene, held_frames=scene.num_frames - count))


def _reorder_frames(clip: Clip, order: NDArray[np.int64]) -> Clip:
    """The frames ``order`` ``(T,)`` under the same command."""
    return Clip(scene=clip.scene, frames=clip.frames[:, order])


def _sample_nonadjacent(clip: Clip, places: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` of the first ``places`` integers, no two of them adjacent, in order."""
    check_frames(clip, 2 * count)
    # Distinct numbers out of a range shortened by count - 1, spread by adding 0, 1, 2, ...
    return np.asarray(np.sort(rng.choice(places - (count - 1), count, replace=False)) + np.arange(count))
