"""Which objects are seen well enough for a corruption of them to be one, and where they are in the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Track
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.objects.observations import LARGE_PX
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import View, list_views

MARGIN_FRAMES = 3  # seen before and after what happens to an object in the middle of a clip
MIN_VISIBLE_FRAMES = 2 * MARGIN_FRAMES

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxVisibility:
    """The boxes in one camera; ``camera_index`` is its place among the cameras of the clip."""

    camera_index: int
    view: View
    boxes: Boxes

    @property
    def shape(self) -> tuple[int, int]:
        return self.view.gray.shape[1], self.view.gray.shape[2]

    @property
    def well_visible(self) -> Mask:
        """``(T, N)``: where a box is in view, hardly hidden, and so large that measures cannot overlook it."""
        return np.asarray(self.boxes.judged & (self.boxes.size >= LARGE_PX / self.view.scale))

    def visible_mask(self, frame: int, track: int) -> Mask:
        """``(H, W)``: where the box of one track covers the image and no nearer box does."""
        covered, hull = np.zeros(self.shape, np.uint8), self.boxes.hulls[frame][track]
        if hull is not None:
            cv2.fillConvexPoly(covered, hull, 255)
        return (covered > 0) & ~self.occluded_mask(frame, track)

    def occluded_mask(self, frame: int, track: int) -> Mask:
        """``(H, W)``: where a box that is nearer than that of ``track`` covers the image."""
        covered, distance = np.zeros(self.shape, np.uint8), self.boxes.distance[frame]
        for other, hull in enumerate(self.boxes.hulls[frame]):
            if hull is not None and distance[other] < distance[track]:
                cv2.fillConvexPoly(covered, hull, 255)
        return covered > 0


def box_visibilities(clip: Clip) -> list[BoxVisibility]:
    """The calibrated cameras of a clip that has a pose and boxes."""
    names = [camera.name for camera in clip.scene.cameras]
    pairs = [(view, project_boxes(view)) for view in list_views(clip)]
    return [
        BoxVisibility(camera_index=names.index(view.camera), view=view, boxes=boxes) for view, boxes in pairs if boxes
    ]


def well_visible(visibilities: list[BoxVisibility]) -> Mask:
    """``(T, N)``: in which frames each track is well seen by some camera."""
    return np.asarray(np.any([visibility.well_visible for visibility in visibilities], axis=0))


def sample_object(clip: Clip, candidates: Mask, what: str, rng: np.random.Generator) -> int:
    """The index of one of the tracks that ``candidates`` ``(N,)`` holds; CorruptionNotApplicable without any."""
    if not candidates.any():
        raise CorruptionNotApplicable(
            f"{clip.scene.clip_id}: no {what} is seen well for long enough (large, in view, hardly hidden)"
        )
    return int(rng.choice(np.flatnonzero(candidates)))


def sample_event_frame(visible: Mask, rng: np.random.Generator) -> int:
    """A frame with ``MARGIN_FRAMES`` seen ones before and as many from it on, of an object ``visible`` ``(T,)``."""
    frames = np.flatnonzero(visible)
    return int(rng.choice(frames[MARGIN_FRAMES : len(frames) - MARGIN_FRAMES + 1]))


def replace_track(clip: Clip, track_index: int, track: Track) -> Clip:
    """``clip`` under a command in which ``track`` replaces the one at ``track_index``."""
    tracks = list(clip.scene.tracks)
    tracks[track_index] = track
    return clip.with_scene(tracks=tuple(tracks))
