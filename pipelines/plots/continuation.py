"""Continuations of clips by a model below the true ones, with the objects marked."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.finetune.evaluation.clips import EvaluationClip
from driveforge.finetune.evaluation.motion import compute_ground_truth
from driveforge.finetune.evaluation.object_search import ObjectSearchResult, search_object
from driveforge.finetune.evaluation.targets import Target
from driveforge.pipelines.plots.contact_sheet import SheetRow, render_contact_sheet

_TRUE, _FOUND, _GONE = (80, 220, 80), (255, 210, 40), (235, 60, 60)
_SCALE = 3
_NUM_FRAMES = 6


def render_continuations(clips: Sequence[tuple[EvaluationClip, NDArray[np.uint8]]], context: int) -> NDArray[np.uint8]:
    """A sheet ``(H, W, 3)`` uint8 with two rows per clip, from the last context frame on.

    Green: the true position of an object. Yellow: its position in the generated frames. Red: its last position, where
    it is not found any more.
    """
    rows = []
    for clip, frames in clips:
        ground_truth = compute_ground_truth(clip, context - 1)
        true, generated = (_enlarge(f[context - 1 :]) for f in (clip.frames, frames))
        for target in ground_truth.targets:
            found_object = search_object(target, ground_truth.view.frames, frames)
            for k in range(1, len(generated)):
                _draw_target(true[k], generated[k], target, found_object, context - 1 + k)
        rows += [
            SheetRow(caption=f"{clip.clip_id}: true", frames=true),
            SheetRow(caption="generated", frames=generated),
        ]
    return render_contact_sheet(rows, num_frames=_NUM_FRAMES, scale=1)


def _enlarge(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (frames.shape[2] * _SCALE, frames.shape[1] * _SCALE)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in frames])


def _draw_target(
    true: NDArray[np.uint8], generated: NDArray[np.uint8], target: Target, found_object: ObjectSearchResult, t: int
) -> None:
    if not target.judged[t]:
        return
    _draw_rectangle(true, target.rectangle[t], _TRUE)
    shift = np.tile(found_object.offset[t], 2)
    _draw_rectangle(generated, target.rectangle[t] + shift, _FOUND if found_object.found[t] else _GONE)


def _draw_rectangle(image: NDArray[np.uint8], rectangle: NDArray[np.float64], color: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = ((rectangle + 0.5) * _SCALE).round().astype(int).tolist()
    cv2.rectangle(image, (x0, y0), (x1, y1), color, 1, cv2.LINE_AA)
