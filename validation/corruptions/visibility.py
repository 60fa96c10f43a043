"""The visibility of objects: which ones are visible enough to be corrupted, and their masks in the image."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Track
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.objects.observations import LARGE_PX
from driveforge.validation.views.boxes import MIN_IN_VIEW, Boxes, project_boxes
from driveforge.validation.views.view import View, list_views

MARGIN_FRAMES = 3  # in which an object is visible before and after its corruption starts
MIN_VISIBLE_FRAMES = 2 * MARGIN_FRAMES

MIN_CUT_IN_VIEW = 0.1

Mask = NDArray[np.bool_]
# "inside": in view, hardly occluded, large. "edge": cut by the edge of the image, with a large visible part.
ObjectPlace = Literal["inside", "edge"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxVisibility:
    """The boxes in one camera; ``camera_index`` is its index among the cameras of the clip."""

    camera_index: int
    view: View
    boxes: Boxes

    @property
    def shape(self) -> tuple[int, int]:
        return self.view.gray.shape[1], self.view.gray.shape[2]

    @property
    def well_visible(self) -> Mask:
        """``(T, N)``: whether a box is in view, hardly occluded, and large enough for the measures of objects."""
        is_whole = self.boxes.in_view > MIN_IN_VIEW
        return np.asarray(self.boxes.judged & is_whole & (self.boxes.size >= LARGE_PX / self.view.scale))

    @property
    def cut_by_edge(self) -> Mask:
        """``(T, N)``: whether the edge of the image cuts a box, and the visible part is large enough to be measured."""
        is_cut = (self.boxes.in_view > MIN_CUT_IN_VIEW) & (self.boxes.in_view <= MIN_IN_VIEW)
        return np.asarray(self.boxes.judged & is_cut & (self.boxes.visible_size >= LARGE_PX / self.view.scale))

    def visible_mask(self, frame: int, track: int) -> Mask:
        """``(H, W)``: the pixels that the box of one track covers and no nearer box does."""
        covered, hull = np.zeros(self.shape, np.uint8), self.boxes.hulls[frame][track]
        if hull is not None:
            cv2.fillConvexPoly(covered, hull, 255)
        return (covered > 0) & ~self.occluded_mask(frame, track)

    def occluded_mask(self, frame: int, track: int) -> Mask:
        """``(H, W)``: the pixels that boxes nearer than that of ``track`` cover."""
        covered, distance = np.zeros(self.shape, np.uint8), self.boxes.distance[frame]
        for other, hull in enumerate(self.boxes.hulls[frame]):
            if hull is not None and distance[other] < distance[track]:
                cv2.fillConvexPoly(covered, hull, 255)
        return covered > 0


def box_visibilities(clip: Clip) -> list[BoxVisibility]:
    """The boxes in each calibrated camera of a clip; empty without a pose or without boxes."""
    names = [camera.name for camera in clip.scene.cameras]
    pairs = [(view, project_boxes(view)) for view in list_views(clip)]
    return [
        BoxVisibility(camera_index=names.index(view.camera), view=view, boxes=boxes) for view, boxes in pairs if boxes
    ]


def well_visible(visibilities: list[BoxVisibility]) -> Mask:
    """``(T, N)``: whether each track is well visible in any camera."""
    return np.asarray(np.any([visibility.well_visible for visibility in visibilities], axis=0))


def candidates_at(visibilities: list[BoxVisibility], place: ObjectPlace) -> Mask:
    """``(T, N)``: whether each track is visible at ``place`` in any camera."""
    if place == "inside":
        return well_visible(visibilities)
    return np.asarray(np.any([visibility.cut_by_edge for visibility in visibilities], axis=0))


def sample_object(clip: Clip, candidates: Mask, what: str, rng: np.random.Generator) -> int:
    """Sample the index of one of the ``candidates`` ``(N,)``; raises CorruptionNotApplicable if there are none."""
    if not candidates.any():
        raise CorruptionNotApplicable(
            f"{clip.scene.clip_id}: no {what} is visible for long enough (large, in view, hardly occluded)"
        )
    return int(rng.choice(np.flatnonzero(candidates)))


def sample_event_frame(visible: Mask, rng: np.random.Generator) -> int:
    """A frame with ``MARGIN_FRAMES`` ``visible`` ``(T,)`` ones of an object before it and as many from it on."""
    frames = np.flatnonzero(visible)
    return int(rng.choice(frames[MARGIN_FRAMES : len(frames) - MARGIN_FRAMES + 1]))


def replace_track(clip: Clip, track_index: int, track: Track) -> Clip:
    """``clip`` with ``track`` in place of the one at ``track_index``."""
    tracks = list(clip.scene.tracks)
    tracks[track_index] = track
    return clip.with_scene(tracks=tuple(tracks))
