"""Pixels at the wrong time: frames held, swapped, left out, reversed, or of another place. All cameras alike."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.reframe import reframe_frames
from driveforge.datasets.scene import Clip, Scene
from driveforge.validation.corruptions.requirements import NotApplicable, check_frames, share_of_frames
from driveforge.validation.views.view import without_held_frames

MIN_FRAMES_LEFT = 2


def freeze(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """One frame is held for that many ``frames`` more, in the place of those behind it."""
    held = int(frames)
    check_frames(clip, held + 2)
    order = np.arange(clip.scene.num_frames)
    start = int(rng.integers(0, len(order) - held))
    order[start + 1 : start + 1 + held] = start
    return _shown(clip, order)


def stutter(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """That many ``frames``, here and there, repeat the one before."""
    order = np.arange(clip.scene.num_frames)
    order[1 + _apart(clip, len(order) - 1, int(frames), rng)] -= 1
    return _shown(clip, order)


def swap(clip: Clip, pairs: float, rng: np.random.Generator) -> Clip:
    """That many ``pairs`` of neighbouring frames change places."""
    order = np.arange(clip.scene.num_frames)
    first = _apart(clip, len(order) - 1, int(pairs), rng)
    order[first], order[first + 1] = first + 1, first
    return _shown(clip, order)


def shuffle(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """A window of that many ``frames`` is shuffled so that none stays in its place (Sattolo 1986)."""
    window = int(frames)
    check_frames(clip, window)
    order = np.arange(clip.scene.num_frames)
    start = int(rng.integers(0, len(order) - window + 1))
    for i in range(start + window - 1, start, -1):
        j = int(rng.integers(start, i))
        order[[i, j]] = order[[j, i]]
    return _shown(clip, order)


def skip(clip: Clip, frames: float, rng: np.random.Generator) -> Clip:
    """That many ``frames`` are left out, while the command goes on evenly; the clip ends that much sooner."""
    gone = int(frames)
    check_frames(clip, gone + 2 * MIN_FRAMES_LEFT)
    left = clip.scene.num_frames - gone
    start = int(rng.integers(MIN_FRAMES_LEFT, left - MIN_FRAMES_LEFT + 1))
    order = np.append(np.arange(start), np.arange(start + gone, clip.scene.num_frames))
    return Clip(scene=first_frames(clip.scene, left), frames=clip.frames[:, order])


def cut(clip: Clip, percent: float, rng: np.random.Generator, other: Clip) -> Clip:
    """The last ``percent`` of the frames are of the ``other`` clip, resized; the command goes on."""
    count = share_of_frames(clip, percent)
    spare = other.frames.shape[1] - count
    if spare < 0:
        raise NotApplicable(f"{other.scene.clip_id}: has {other.scene.num_frames} frames, a cut to it needs {count}")
    start = int(rng.integers(0, spare + 1))
    frames = clip.frames.copy()
    height, width = frames.shape[2:4]
    for number, view in enumerate(frames):
        elsewhere = other.frames[number % len(other.frames), start : start + count]
        view[-count:] = reframe_frames(elsewhere, height, width)
    return Clip(scene=clip.scene, frames=frames)


def reverse(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """A stretch of ``percent`` of the frames is played backwards."""
    count = share_of_frames(clip, percent)
    order = np.arange(clip.scene.num_frames)
    start = int(rng.integers(0, len(order) - count + 1))
    order[start : start + count] = order[start : start + count][::-1]
    return _shown(clip, order)


def first_frames(scene: Scene, count: int) -> Scene:
    """``scene`` up to its first ``count`` frames."""
    return without_held_frames(replace(scene, held_frames=scene.num_frames - count))


def _shown(clip: Clip, order: NDArray[np.int64]) -> Clip:
    """Under the same command the frames ``order`` ``(T,)``."""
    return Clip(scene=clip.scene, frames=clip.frames[:, order])


def _apart(clip: Clip, places: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` of the first ``places`` whole numbers, no two of them neighbours, in order."""
    check_frames(clip, 2 * count)
    return np.asarray(np.sort(rng.choice(places - (count - 1), count, replace=False)) + np.arange(count))
