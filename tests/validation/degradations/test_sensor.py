"""Degradations have the requested strength, are deterministic, and leave a clip good."""

import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.validation.degradations.sensor import (
    SensorDegradation,
    as_night,
    as_noisy,
    degrade,
    sample_degradation,
)
from driveforge.validation.measures import static_track_residual
from tests.validation.street import street

NONE = SensorDegradation(noise=0.0, blur=0.0, quality=100, exposure=0.0, pose_deg=0.0, pose_m=0.0, box_m=0.0)


def test_no_degradation_changes_almost_nothing() -> None:
    clip = street(num_frames=5)
    same = degrade(clip, NONE, seed=0)
    assert np.abs(same.frames.astype(int) - clip.frames).mean() < 1.5  # JPEG is never quite lossless
    np.testing.assert_array_equal(same.scene.ego_to_world, clip.scene.ego_to_world)


def test_the_same_seed_gives_the_same_degradation() -> None:
    clip, degradation = street(num_frames=5), sample_degradation(np.random.default_rng(0))
    assert np.array_equal(degrade(clip, degradation, 1).frames, degrade(clip, degradation, 1).frames)
    assert not np.array_equal(degrade(clip, degradation, 1).frames, degrade(clip, degradation, 2).frames)


def test_nights_are_dark_and_poor_cameras_are_noisy() -> None:
    clip, degradation = street(num_frames=5), sample_degradation(np.random.default_rng(0))
    usual = degrade(clip, degradation, 1)
    assert degrade(clip, as_night(degradation), 1).frames.mean() < 0.4 * usual.frames.mean()
    wall = Clip(scene=clip.scene, frames=np.full_like(clip.frames, 120))
    gray = [c.frames[0, 0, ..., 1] for c in (degrade(wall, degradation, 1), degrade(wall, as_noisy(degradation), 1))]
    assert gray[1].std() > 2 * gray[0].std()


def test_a_degraded_clip_still_agrees_with_its_command() -> None:
    residual = static_track_residual(
        degrade(street(height=128, width=224), sample_degradation(np.random.default_rng(1)), 1)
    )
    assert residual is not None and residual < 1.0
