"""Covariates measure what their names say, even under a wrong command."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.validation.covariates import ClipCovariates
from driveforge.validation.measure_covariates import noise_level
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from tests.validation.street import street


def covariates_of(clip: Clip) -> ClipCovariates:
    covariates = measure(clip).covariates
    assert covariates is not None
    return covariates


def test_speed_rotation_rate_and_frame_rate_are_those_of_the_command() -> None:
    covariates = covariates_of(street(num_frames=9, speed=8.0, yaw_rate=6.0))
    assert covariates.speed == pytest.approx(8.0, rel=0.05)
    assert covariates.rotation_rate == pytest.approx(6.0, rel=0.05)
    assert covariates.frame_rate == 10.0
    assert (covariates.motion, covariates.rig) == ("turning", "front 160x96 61 deg")


def test_a_jittering_command_does_not_count_as_turning() -> None:
    clip = street(num_frames=17, yaw_rate=0.0)
    path = np.array(clip.scene.ego_to_world)
    angles = np.radians(0.2) * (-1.0) ** np.arange(17)
    turn = np.broadcast_to(np.eye(4), path.shape).copy()
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angles)
    turn[:, 1, 0], turn[:, 0, 1] = np.sin(angles), -np.sin(angles)
    assert (
        covariates_of(clip.with_scene(ego_to_world=path @ turn)).rotation_rate < 1.0
    )  # from frame to frame it is 4 deg/s


def test_light_and_contrast_follow_the_pixels() -> None:
    clip = street(num_frames=5)
    dark = Clip(scene=clip.scene, frames=clip.frames // 4)
    assert covariates_of(dark).light == "dark" != covariates_of(clip).light
    assert covariates_of(dark).contrast == pytest.approx(covariates_of(clip).contrast / 4, rel=0.1)


@pytest.mark.parametrize("level", [1.0, 4.0, 10.0])
def test_noise_is_in_gray_levels(level: float) -> None:
    flat = np.full((80, 120), 120.0) + np.arange(120)
    noisy = flat + np.random.default_rng(0).normal(0, level, flat.shape)
    assert noise_level(noisy.round().clip(0, 255).astype(np.uint8)) == pytest.approx(level, rel=0.1)
    assert noise_level(flat.astype(np.uint8)) < 0.2


def test_a_clip_without_a_pose_has_covariates_too() -> None:
    clip = street(num_frames=5)
    poseless = Clip(scene=replace(clip.scene, ego_to_world=None, tracks=()), frames=clip.frames)
    covariates = covariates_of(poseless)
    assert (covariates.speed, covariates.rotation_rate, covariates.motion) == (0.0, 0.0, "stationary")
    assert covariates.flow > 0


def test_covariates_are_stored_with_the_measures() -> None:
    taken = measure(street(num_frames=5))
    assert Measures.from_json(taken.to_json()) == taken
