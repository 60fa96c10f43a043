"""The interface of a point tracker: it gets query points and returns their tracks and visibility."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driveforge.validation.views.view import View

BACKGROUND = -1

Points = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QueryPoints:
    """``points`` ``(N, 2)`` px in frame ``start``, to be tracked through ``length`` frames including that one.

    ``box_index`` ``(N,)`` is the index of the track whose box contains a point, or ``BACKGROUND``; a record has points
    of one kind only. ``guess`` ``(L, N, 2)`` px are the commanded positions of points on objects, for a tracker that
    needs a start for its search; None for the background.
    """

    start: int
    length: int
    points: Points
    box_index: NDArray[np.int64]
    guess: Points | None = None

    @property
    def is_on_objects(self) -> bool:
        return bool((self.box_index != BACKGROUND).any())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrackedPoints:
    """Tracks of query points: ``points`` ``(L, N, 2)`` px of the image, starting with the query points.

    ``visible`` ``(L, N)``: whether the tracker finds the point in this frame. A track ends at the first frame in which
    it is not visible; later frames are ignored.
    """

    points: Points
    visible: Mask


class PointTracker(Protocol):
    """A tracker of points. It must be deterministic.

    It must use only the pixels: ``view.frames`` ``(T, H, W, 3)`` RGB or ``view.gray`` ``(T, H, W)``, uint8. The caller
    ends tracks that leave the image or are occluded by a box.
    """

    @property
    def name(self) -> str:
        """The name that is stored with measures and calibrations."""

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> Sequence[TrackedPoints]:
        """The tracks of all ``queries``, in their order. One call gets all of them, so that they can share work."""
