"""Labels of the frames of a clip: boxes of visible vehicles and people, and lane lines, projected from its scene."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.layout import render_layout
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip, Scene
from driveforge.pipelines.studies.detector.images import PERSON, VEHICLE, LabeledImage
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import reference_view

MIN_ROWS, MIN_COLUMNS = 4.0, 1.0  # px of a box in the image
MAX_HIDDEN = 0.8  # of the part of a box in the image, by nearer boxes
# Objects that are hidden more are neither missed nor found in the evaluation.
MAX_HIDDEN_TEST = 0.5
UNKNOWN, LINE = 128, 255  # of the lane mask; 0 is no line


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledFrame:
    """A frame ``(H, W, 3)`` RGB with its objects and lane lines.

    ``boxes`` ``(N, 4)`` px within the image, ``labels`` ``(N,)``, ``distances`` ``(N,)`` m, ``clear`` ``(N,)``: the
    object is hardly hidden. ``lanes`` ``(H, W)`` is ``LINE`` on a lane line, and ``UNKNOWN`` where an object may hide
    it.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    distances: Array
    clear: NDArray[np.bool_]
    lanes: NDArray[np.uint8]

    @property
    def objects(self) -> LabeledImage:
        return LabeledImage(image=self.image, boxes=self.boxes, labels=self.labels)


def annotate(command: Scene, recorded: Scene) -> Scene:
    """The commanded scene with boxes only where the recording, of which it is an edit, is annotated with the object.

    Nobody has annotated a generated clip: it has the labels that were commanded.
    """
    seen = {track.id: track.present for track in recorded.tracks}
    tracks = [replace(k, present=k.present & seen[k.id]) for k in command.tracks if k.id in seen]
    return replace(command, tracks=tuple(track for track in tracks if track.present.any()))


def label_frames(clip: Clip, frames: Sequence[int] | None = None) -> list[LabeledFrame]:
    """The labeled frames of the first camera, by default all."""
    chosen = range(clip.scene.num_frames) if frames is None else frames
    lanes = _lane_masks(clip.scene)
    view = reference_view(clip)
    boxes, images = project_boxes(view), clip.frames[0]
    if boxes is None:
        none, no_labels, no_flags = np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        return [_frame(images[t], lanes[t], none.reshape(0, 4), no_labels, none, no_flags) for t in chosen]
    labels = np.array([PERSON if is_person(track) else VEHICLE for track in view.tracks], np.int64)
    rows, columns = view.gray.shape[1:]
    inside = np.clip(boxes.rectangle, 0, np.array([columns, rows] * 2) - 1.0)
    extent = inside[..., 2:] - inside[..., :2]
    hidden = 1 - boxes.visibility / np.maximum(boxes.in_view, 1e-6)
    kept = boxes.is_in_image & (extent[..., 0] > MIN_COLUMNS) & (extent[..., 1] > MIN_ROWS) & (hidden < MAX_HIDDEN)
    found = []
    for t in chosen:
        lanes[t][boxes.mask(t, (rows, columns)) > 0] = UNKNOWN
        n = np.flatnonzero(kept[t])
        clear = hidden[t, n] < MAX_HIDDEN_TEST
        found.append(_frame(images[t], lanes[t], inside[t, n], labels[n], boxes.distance[t, n], clear))
    return found


def _frame(
    image: NDArray[np.uint8],
    lanes: NDArray[np.uint8],
    boxes: Array,
    labels: NDArray[np.int64],
    distances: Array,
    clear: NDArray[np.bool_],
) -> LabeledFrame:
    return LabeledFrame(
        image=image, boxes=boxes.astype(np.float32), labels=labels, distances=distances, clear=clear, lanes=lanes
    )


def _lane_masks(scene: Scene) -> NDArray[np.uint8]:
    """``LINE`` on the lane lines ``(T, H, W)`` of the first camera."""
    drawn = render_layout(replace(scene, tracks=()), scene.cameras[0])
    return np.where(drawn.max(-1) > 64, LINE, 0).astype(np.uint8)
