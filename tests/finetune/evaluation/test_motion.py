"""Motion errors are zero for the true frames, as expected for known faults, and otherwise have a reason."""

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.finetune.evaluation.clips import EvaluationClip
from driveforge.finetune.evaluation.motion import NO_OBJECTS, STATIONARY_CAMERA, measure_motion
from driveforge.validation.records import NO_POSE
from tests.finetune.evaluation.sliding_board import SPEED, START, evaluation_clip, make_sliding_clip, without_tracks
from tests.validation.street import street

ROWS = 256 / 48  # reference px per px


@pytest.fixture(scope="module")
def sliding_clip() -> EvaluationClip:
    return evaluation_clip(make_sliding_clip())


@pytest.fixture(scope="module")
def driving_clip() -> EvaluationClip:
    return evaluation_clip(street(yaw_rate=6.0))


def measured(clip: EvaluationClip, frames: np.ndarray) -> dict[str, float | str]:
    return {v.measure: v.reason if v.value is None else v.value for v in measure_motion(clip, frames, START)}


def repeat_last_frame(clip: EvaluationClip) -> np.ndarray:
    frames = clip.frames.copy()
    frames[START + 1 :] = frames[START]
    return frames


def test_the_true_frames_have_no_motion_error(sliding_clip: EvaluationClip, driving_clip: EvaluationClip) -> None:
    found = measured(sliding_clip, sliding_clip.frames)
    assert found["moving_objects/permanence"] == 1.0
    assert (
        found["moving_objects/ade"] < 0.5 and found["moving_objects/fde"] < 0.5 and found["moving_objects/ade_m"] < 0.02
    )
    assert found["moving_objects/velocity"] < 0.2
    driven = measured(driving_clip, driving_clip.frames)
    assert driven["points/static"] == 0.0 and driven["ego/speed"] == 0.0 and driven["ego/recovered"] == 1.0
    assert driven["ego/rotation"] < 0.5 and driven["ego/translation"] < 5.0


def test_a_frozen_clip_keeps_its_objects_and_has_the_error_of_no_motion(
    sliding_clip: EvaluationClip, driving_clip: EvaluationClip
) -> None:
    found = measured(sliding_clip, repeat_last_frame(sliding_clip))
    assert found["moving_objects/permanence"] == 1.0
    assert found["moving_objects/ade"] == pytest.approx(np.mean([2, 4, 6, 8, 10]) * ROWS, rel=0.05)
    assert found["moving_objects/fde"] == pytest.approx(10 * ROWS, rel=0.05)
    assert found["moving_objects/ade_m"] == pytest.approx(3 * SPEED / 10, rel=0.05)
    assert found["moving_objects/velocity"] == pytest.approx(SPEED, rel=0.1)
    driven = measured(driving_clip, repeat_last_frame(driving_clip))
    assert driven["ego/speed"] == pytest.approx(1.0, abs=0.05)
    assert driven["points/static"] > 5.0
    assert driven["ego/translation"] == 90.0, "without motion there is no direction"
    assert driven["ego/rotation"] > 1.0


def test_an_object_that_vanishes_counts(sliding_clip: EvaluationClip) -> None:
    found = measured(sliding_clip, make_sliding_clip(drawn=False).frames[0])
    assert found["moving_objects/permanence"] == 0.0
    assert found["moving_objects/ade"] > np.mean([2, 4, 6, 8, 10]) * ROWS, "worse than an object that does not move"


def test_a_static_object_that_vanishes_has_an_error() -> None:
    clip = evaluation_clip(make_sliding_clip(speed=0.0))
    found = measured(clip, make_sliding_clip(speed=0.0, drawn=False).frames[0])
    assert found["static_objects/permanence"] == 0.0
    assert found["static_objects/ade"] > 10 * ROWS, "its own size at least"
    assert found["moving_objects/ade"] == NO_OBJECTS


def test_what_cannot_be_measured_has_a_reason(sliding_clip: EvaluationClip) -> None:
    clip = evaluation_clip(without_tracks(make_sliding_clip()))
    found = measured(clip, clip.frames)
    assert found["moving_objects/ade"] == found["static_objects/permanence"] == NO_OBJECTS
    assert measured(sliding_clip, sliding_clip.frames)["ego/speed"] == STATIONARY_CAMERA
    unposed = make_sliding_clip().with_scene(ego_to_world=None)
    clip = evaluation_clip(Clip(scene=unposed.scene, frames=unposed.frames))
    found = measured(clip, clip.frames)
    assert found["ego/yaw"] == found["ego/recovered"] == NO_POSE
    assert found["points/static"] == 0.0, "points need no pose"


def test_the_camera_motion_is_not_found_in_noise(driving_clip: EvaluationClip) -> None:
    frames = driving_clip.frames.copy()
    frames[START + 1 :] = np.random.default_rng(0).integers(0, 255, frames[START + 1 :].shape, np.uint8)
    found = measured(driving_clip, frames)
    assert found["ego/recovered"] == 0.0 and isinstance(found["ego/rotation"], str)
    assert found["ego/speed"] > 0.9
