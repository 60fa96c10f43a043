"""Which objects are seen well enough for a corruption of them to be one, and where they are in the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Track
from driveforge.validation.corruptions.requirements import NotApplicable
from driveforge.validation.objects.observations import LARGE_PX
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import View, views_of

MARGIN_FRAMES = 3  # seen before and after what happens to an object in the middle of a clip
MIN_FRAMES_SEEN = 2 * MARGIN_FRAMES

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sight:
    """The boxes in one camera; ``number`` is its place among the cameras of the clip."""

    number: int
    view: View
    boxes: Boxes

    @property
    def shape(self) -> tuple[int, int]:
        return self.view.grey.shape[1], self.view.grey.shape[2]

    @property
    def seen(self) -> Mask:
        """``(T, N)``: where a box is in view, hardly hidden, and so large that measures cannot overlook it."""
        return np.asarray(self.boxes.judged & (self.boxes.size >= LARGE_PX / self.view.scale))

    def outline(self, frame: int, track: int) -> Mask:
        """``(H, W)``: where the box of one track covers the image and no nearer box does."""
        covered, hull = np.zeros(self.shape, np.uint8), self.boxes.hulls[frame][track]
        if hull is not None:
            cv2.fillConvexPoly(covered, hull, 255)
        return (covered > 0) & ~self.hidden(frame, track)

    def hidden(self, frame: int, track: int) -> Mask:
        """``(H, W)``: where a box that is nearer than that of ``track`` covers the image."""
        covered, distance = np.zeros(self.shape, np.uint8), self.boxes.distance[frame]
        for other, hull in enumerate(self.boxes.hulls[frame]):
            if hull is not None and distance[other] < distance[track]:
                cv2.fillConvexPoly(covered, hull, 255)
        return covered > 0


def sights_of(clip: Clip) -> list[Sight]:
    """The calibrated cameras of a clip that has a pose and boxes."""
    names = [camera.name for camera in clip.scene.cameras]
    pairs = [(view, project_boxes(view)) for view in views_of(clip)]
    return [Sight(number=names.index(view.camera), view=view, boxes=boxes) for view, boxes in pairs if boxes]


def well_seen(sights: list[Sight]) -> Mask:
    """``(T, N)``: in which frames each track is well seen by some camera."""
    return np.asarray(np.any([sight.seen for sight in sights], axis=0))


def draw_object(clip: Clip, fits: Mask, what: str, rng: np.random.Generator) -> int:
    """The index of one of the tracks that ``fits`` ``(N,)`` holds; NotApplicable, naming ``what``, where none is."""
    if not fits.any():
        raise NotApplicable(
            f"{clip.scene.clip_id}: no {what} is seen well for long enough (large, in view, hardly hidden)"
        )
    return int(rng.choice(np.flatnonzero(fits)))


def turning_frame(seen: Mask, rng: np.random.Generator) -> int:
    """A frame with ``MARGIN_FRAMES`` seen ones before and as many from it on, of an object ``seen`` ``(T,)``."""
    frames = np.flatnonzero(seen)
    return int(rng.choice(frames[MARGIN_FRAMES : len(frames) - MARGIN_FRAMES + 1]))


def with_track(clip: Clip, number: int, track: Track) -> Clip:
    """``clip`` under a command in which ``track`` replaces the one of that ``number``."""
    tracks = list(clip.scene.tracks)
    tracks[number] = track
    return clip.with_scene(tracks=tuple(tracks))
