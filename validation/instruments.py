"""The exchangeable parts of measuring: the point tracker and the optional checks of camera poses and of objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.protocol import PointTracker
from driveforge.validation.point_tracking.tracks import DEFAULT_TRACKER


class PoseNetwork(Protocol):
    """A function that predicts camera poses from frames. It must be deterministic."""

    def __call__(self, frames: NDArray[np.uint8]) -> Array:
        """Camera-to-world poses ``(T, 4, 4)`` of frames ``(T, H, W, 3)`` RGB, in any world frame and at any scale.

        Camera axes are x right, y down, z forward.
        """


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detections:
    """Objects detected in one image: ``boxes`` ``(N, 4)`` x0, y0, x1, y1 px and ``scores`` ``(N,)`` in 0..1."""

    boxes: Array
    scores: Array


class Detector(Protocol):
    """A function that detects vehicles, and people if it can, in an image. It must be deterministic."""

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """The objects in an image ``(H, W, 3)`` RGB, without non-maxima, in any order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruments:
    """The configuration of measuring; the defaults need no weights and no additional package.

    ``artifact_weights`` is the folder of the network of the learned measure; None turns it off. ``colmap_check``
    maps the frames with COLMAP, about ten CPU-seconds per camera. Limits hold only for clips that were measured with
    the ``tracker`` of the calibration.
    """

    tracker: PointTracker = DEFAULT_TRACKER
    pose_network: PoseNetwork | None = None
    colmap_check: bool = False
    detector: Detector | None = None
    artifact_weights: Path | None = None


DEFAULT_INSTRUMENTS = Instruments()
