"""An object is found where it is, and is gone where it is not: what the dynamics of the probe rest on."""

import cv2
import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.finetune.evaluation.object_search import ObjectSearchResult, search_object
from driveforge.finetune.evaluation.targets import Target, find_targets
from driveforge.validation.views.view import reference_view
from tests.finetune.evaluation.sliding import START, sliding

TRUE = sliding()


def board() -> Target:
    (target,) = find_targets(reference_view(TRUE), START)
    return target


def found_in(clip: Clip) -> ObjectSearchResult:
    return search_object(board(), TRUE.frames[0], clip.frames[0])


def blurred(clip: Clip, sigma: float) -> Clip:
    return Clip(scene=clip.scene, frames=np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in clip.frames[0]])[None])


def test_the_target_is_what_is_seen_after_the_given_frames() -> None:
    target = board()
    assert target.is_moving
    assert target.judged.tolist() == [t > START for t in range(len(target.judged))]
    assert np.allclose(np.diff(target.center[:, 0]), 2.0, atol=0.05), "2.4 m/s at 6 m is 2 px a frame"


@pytest.mark.parametrize("sigma", [0.01, 1.0, 2.0])
def test_the_true_clip_has_no_error_however_soft(sigma: float) -> None:
    found_object = found_in(blurred(TRUE, sigma))
    assert found_object.found[board().judged].all()
    assert np.abs(found_object.offset).max() < 0.3


@pytest.mark.parametrize("shift", [(5.0, -3.0), (-4.0, 2.0), (0.5, 0.0)])
def test_a_displaced_object_is_found_as_far_off_as_it_is(shift: tuple[float, float]) -> None:
    found_object = found_in(sliding(shift=shift))
    judged = board().judged
    assert found_object.found[judged].all()
    assert np.allclose(found_object.offset[judged], shift, atol=0.3)


def test_in_a_frozen_clip_the_object_stays_and_the_truth_goes_on() -> None:
    frames = TRUE.frames.copy()
    frames[0, START + 1 :] = frames[0, START]
    found_object, target = found_in(Clip(scene=TRUE.scene, frames=frames)), board()
    assert found_object.found[target.judged].all(), "it is still there"
    assert np.allclose(
        found_object.offset[target.judged], (target.center[START] - target.center)[target.judged], atol=0.3
    )


def test_an_erased_object_is_gone_and_counts_where_it_was_last_seen() -> None:
    found_object, target = found_in(sliding(drawn=False)), board()
    assert not found_object.found.any()
    assert np.allclose(found_object.offset[target.judged], (target.center[START] - target.center)[target.judged])


def test_what_cannot_be_seen_is_no_target() -> None:
    assert find_targets(reference_view(TRUE.with_scene(tracks=())), START) == ()
    assert find_targets(reference_view(TRUE.with_scene(ego_to_world=None)), START) == ()
