"""Statistics of features as LeRobot stores them, for every episode and for the data set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_LEVELS = np.arange(256) / 255.0

Stats = dict[str, Any]
"""``min, max, mean, std, count`` and quantiles of one feature, as lists."""


def vector_stats(values: Array) -> Stats:
    """Statistics of ``values`` ``(N, D)``, each but ``count`` of shape ``(D,)``."""
    values = np.asarray(values, np.float64)
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    stats |= {name: np.quantile(values, share, axis=0) for name, share in _QUANTILES.items()}
    return {name: value.tolist() for name, value in stats.items()} | {"count": [len(values)]}


def count_levels(frames: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each channel of ``frames`` ``(T, H, W, 3)`` has each level: ``(3, 256)``."""
    return np.stack([np.bincount(frames[..., channel].ravel(), minlength=256) for channel in range(3)])


def image_stats(levels: NDArray[np.int64], num_frames: int) -> Stats:
    """Statistics of RGB values from 0 to 1, each but ``count`` of shape (3, 1, 1), from counts ``(3, 256)``."""
    shares = levels / levels.sum(1, keepdims=True)
    mean = shares @ _LEVELS
    std = np.sqrt(np.maximum(shares @ _LEVELS**2 - mean**2, 0))
    below = np.cumsum(shares, 1)
    stats = {"min": _level(below, 0.0), "max": _level(below, 1.0), "mean": mean, "std": std}
    stats |= {name: _level(below, share) for name, share in _QUANTILES.items()}
    return {name: value.reshape(3, 1, 1).tolist() for name, value in stats.items()} | {"count": [num_frames]}


def _level(below: Array, share: float) -> Array:
    """The lowest level ``(3,)`` that at least ``share`` of all values do not exceed, given their cumulated shares."""
    reached = below > 0 if share == 0.0 else below >= share - 1e-12
    return np.asarray(_LEVELS[reached.argmax(1)])


def sample_frames(num_frames: int, most: int = 10) -> NDArray[np.int64]:
    """At most ``most`` frames of an episode, evenly spread, for image statistics."""
    spread = np.rint(np.linspace(0, num_frames - 1, min(num_frames, most)))
    return np.asarray(np.unique(spread), np.int64)
