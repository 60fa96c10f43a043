"""Infrared clips: the same scenes in inverted gray, under their own ids."""

import numpy as np
import pytest

from driveforge.datasets.domains import DRIVING_DAY
from driveforge.datasets.simulated_source import SimulatedSource, SimulationConfig
from driveforge.pipelines.studies.forgetting.infrared import InfraredSource

SIMULATED = SimulatedSource(
    SimulationConfig(seed=3, domains=(DRIVING_DAY,), num_scenes=2, height=32, width=48, frame_rate=10.0, num_frames=2)
)


@pytest.fixture(scope="module")
def infrared() -> InfraredSource:
    return InfraredSource(source=SIMULATED)


def test_frames_are_gray_and_inverted(infrared: InfraredSource) -> None:
    original = SIMULATED.load(SIMULATED.scenes()[1]).frames.astype(np.float64)
    made = infrared.load(infrared.scenes()[1]).frames
    assert made.dtype == np.uint8 and made.shape == original.shape
    assert (made == made[..., :1]).all()
    luma = original @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(made[..., 0], 255 - luma, atol=1.0)


def test_scenes_differ_in_their_ids_only(infrared: InfraredSource) -> None:
    assert len(infrared) == 2 and infrared.skipped == ()
    for scene, original in zip(infrared.scenes(), SIMULATED.scenes(), strict=True):
        assert scene.clip_id == f"infrared-{original.clip_id}"
        assert scene.ego_to_world is not None and original.ego_to_world is not None
        np.testing.assert_array_equal(scene.ego_to_world, original.ego_to_world)
        assert infrared.files(scene) == () and infrared.load(scene).scene is scene
