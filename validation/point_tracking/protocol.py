"""The door for a tracker: it is given seeds, and says where they went and for how long it stands by them."""

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
    """``points`` ``(N, 2)`` px in frame ``start``, to be followed through ``length`` frames, that one counted in.

    ``box_index`` ``(N,)`` is the index of the track in whose box a point lies, or ``BACKGROUND``; never both.
    ``guess`` ``(L, N, 2)`` px is where the command would take points on objects, for a tracker that has to start its
    search somewhere; None for the background.
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
    """Where seeds went: ``points`` ``(L, N, 2)`` px of the image, beginning with the seeds themselves.

    ``visible`` ``(L, N)``: the tracker sees the point in this frame. From the first frame in which
    it does not, the track has ended, whatever is said of later ones.
    """

    points: Points
    visible: Mask


class PointTracker(Protocol):
    """Anything that follows points. The same view and seeds must give the same answer.

    What is found is to be found in pixels: ``view.frames`` ``(T, H, W, 3)`` RGB or ``view.gray`` ``(T, H, W)``, uint8.
    Who asks ends tracks that leave the image or go behind a box, and draws the consequences.
    """

    @property
    def name(self) -> str:
        """What measures say that they were taken with."""

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> Sequence[TrackedPoints]:
        """All seeds through their frames, in their order. They come together so that work on frames can be shared."""
