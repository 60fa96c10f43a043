"""An object is found at its position, and is lost if it is not in the frame."""

import cv2
import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.finetune.evaluation.object_search import ObjectSearchResult, search_object
from driveforge.finetune.evaluation.targets import Target, find_targets
from driveforge.validation.views.view import reference_view
from tests.finetune.evaluation.sliding_board import START, make_sliding_clip

TRUE = make_sliding_clip()


def board() -> Target:
    (target,) = find_targets(reference_view(TRUE), START)
    return target


def found_in(clip: Clip) -> ObjectSearchResult:
    return search_object(board(), TRUE.frames[0], clip.frames[0])


def blurred(clip: Clip, sigma: float) -> Clip:
    return Clip(scene=clip.scene, frames=np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in clip.frames[0]])[None])


def test_targets_are_judged_after_the_context_frames() -> None:
    target = board()
    assert target.is_moving
    assert target.judged.tolist() == [t > START for t in range(len(target.judged))]
    assert np.allclose(np.diff(target.center[:, 0]), 2.0, atol=0.05), "2.4 m/s at 6 m is 2 px per frame"


@pytest.mark.parametrize("sigma", [0.01, 1.0, 2.0])
def test_a_blurred_true_clip_has_no_error(sigma: float) -> None:
    found_object = found_in(blurred(TRUE, sigma))
    assert found_object.found[board().judged].all()
    assert np.abs(found_object.offset).max() < 0.3


@pytest.mark.parametrize("shift", [(5.0, -3.0), (-4.0, 2.0), (0.5, 0.0)])
def test_a_displaced_object_is_found_at_its_displacement(shift: tuple[float, float]) -> None:
    found_object = found_in(make_sliding_clip(shift=shift))
    judged = board().judged
    assert found_object.found[judged].all()
    assert np.allclose(found_object.offset[judged], shift, atol=0.3)


def test_in_a_frozen_clip_the_object_is_found_where_it_was() -> None:
    frames = TRUE.frames.copy()
    frames[0, START + 1 :] = frames[0, START]
    found_object, target = found_in(Clip(scene=TRUE.scene, frames=frames)), board()
    assert found_object.found[target.judged].all(), "it is still visible"
    assert np.allclose(
        found_object.offset[target.judged], (target.center[START] - target.center)[target.judged], atol=0.3
    )


def test_an_erased_object_is_lost_and_stays_where_it_was_last_found() -> None:
    found_object, target = found_in(make_sliding_clip(drawn=False)), board()
    assert not found_object.found.any()
    assert np.allclose(found_object.offset[target.judged], (target.center[START] - target.center)[target.judged])


def test_without_tracks_or_pose_there_are_no_targets() -> None:
    assert find_targets(reference_view(TRUE.with_scene(tracks=())), START) == ()
    assert find_targets(reference_view(TRUE.with_scene(ego_to_world=None)), START) == ()
