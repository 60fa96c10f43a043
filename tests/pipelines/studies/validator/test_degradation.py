"""Wear is what it says, the same each time, and leaves a clip good."""

import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.pipelines.studies.validator.degradation import Wear, at_night, draw_wear, noisy, worn
from driveforge.validation.measures import static_track_residual
from tests.validation.street import street

NONE = Wear(noise=0.0, blur=0.0, quality=100, exposure=0.0, pose_deg=0.0, pose_m=0.0, box_m=0.0)


def test_no_wear_changes_next_to_nothing() -> None:
    clip = street(num_frames=5)
    same = worn(clip, NONE, seed=0)
    assert np.abs(same.frames.astype(int) - clip.frames).mean() < 1.5  # JPEG is never quite lossless
    np.testing.assert_array_equal(same.scene.ego_to_world, clip.scene.ego_to_world)


def test_the_same_seed_wears_in_the_same_way() -> None:
    clip, wear = street(num_frames=5), draw_wear(np.random.default_rng(0))
    assert np.array_equal(worn(clip, wear, 1).frames, worn(clip, wear, 1).frames)
    assert not np.array_equal(worn(clip, wear, 1).frames, worn(clip, wear, 2).frames)


def test_nights_are_dark_and_poor_cameras_are_noisy() -> None:
    clip, wear = street(num_frames=5), draw_wear(np.random.default_rng(0))
    usual = worn(clip, wear, 1)
    assert worn(clip, at_night(wear), 1).frames.mean() < 0.4 * usual.frames.mean()
    wall = Clip(scene=clip.scene, frames=np.full_like(clip.frames, 120))
    grey = [c.frames[0, 0, ..., 1] for c in (worn(wall, wear, 1), worn(wall, noisy(wear), 1))]
    assert grey[1].std() > 2 * grey[0].std()


def test_a_worn_clip_still_agrees_with_its_command() -> None:
    residual = static_track_residual(worn(street(height=128, width=224), draw_wear(np.random.default_rng(1)), 1))
    assert residual is not None and residual < 1.0
