"""Degradations over time change what they should, are deterministic, and leave a clip in agreement with its command."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.validation.degradations.recording import auto_expose, compress, roll_shutter, soil_lens, stand_still
from driveforge.validation.degradations.wear import wear_known_good
from driveforge.validation.measures import measure, static_track_residual
from driveforge.validation.temporal import frame_changes
from tests.validation.street import street


def difference(a: Clip, b: Clip) -> np.ndarray:
    return np.abs(a.frames.astype(float) - b.frames)


def brightness(clip: Clip) -> np.ndarray:
    return np.log(clip.frames[0].mean((1, 2, 3)))


def test_stronger_compression_changes_more() -> None:
    clip = street(num_frames=5)
    assert 0 < difference(clip, compress(clip, 23)).mean() < difference(clip, compress(clip, 33)).mean() < 12


def test_the_exposure_settles_in_steps() -> None:
    still = stand_still(street(num_frames=17))
    gains = brightness(auto_expose(still, 0.08, 0.0, seed=0)) - brightness(still)
    assert gains[0] == pytest.approx(0.08, abs=0.01) and abs(gains[-1]) < 0.03
    changes = np.abs(np.diff(gains)) > 0.005
    assert 2 <= changes.sum() <= 4, "it is constant between its decisions"
    hunting = brightness(auto_expose(still, 0.0, 0.02, seed=0)) - brightness(still)
    assert 0.01 < hunting.std() < 0.04


def test_the_exposure_follows_the_brightness() -> None:
    clip = stand_still(street(num_frames=17))
    light = np.where(np.arange(17) < 4, 1.0, 0.7)[:, None, None, None]
    darker = Clip(scene=clip.scene, frames=(clip.frames * light).astype(np.uint8))
    gains = brightness(auto_expose(darker, 0.0, 0.0, seed=0)) - brightness(darker)
    assert abs(gains[3]) < 0.01 and gains[-1] > 0.06


def test_a_rolling_shutter_shears_only_turns() -> None:
    straight, turning = street(num_frames=5), street(num_frames=5, yaw_rate=40.0)
    assert np.array_equal(roll_shutter(straight, 0.03).frames, straight.frames)
    rolled = roll_shutter(turning, 0.03)
    height = turning.frames.shape[2]
    rows = difference(turning, rolled)[0, 2].mean((1, 2))
    assert rows[height // 2 - 1 : height // 2 + 1].mean() < 0.3 * rows[[0, 1, -2, -1]].mean()


def test_a_rolling_shutter_moves_the_late_rows_as_a_later_frame() -> None:
    """Half of the time between two frames after the middle row, the picture is shifted by half of a step."""
    clip = street(num_frames=5, yaw_rate=40.0, speed=0.0)
    step = float(np.median(np.diff(clip.scene.timestamps)))
    rolled = roll_shutter(clip, step)  # the last row is read half a step after the middle one
    last = slice(-6, -1)
    now, later, mixed = (c.frames[0, t, last].astype(float) for c, t in ((clip, 2), (clip, 3), (rolled, 2)))

    def best_shift(to: np.ndarray) -> int:
        errors = [np.abs(np.roll(now, s, 1) - to)[:, 20:-20].mean() for s in range(-16, 17)]
        return int(np.argmin(errors)) - 16

    assert abs(best_shift(later)) >= 4
    assert best_shift(mixed) == pytest.approx(best_shift(later) / 2, abs=2)


def test_dirt_stays_in_its_place() -> None:
    clip = street(num_frames=5)
    soiled = soil_lens(clip, 4, seed=3)
    changed = difference(clip, soiled)[0].mean(-1) > 6
    assert 0.01 < changed.mean() < 0.5
    assert (changed[0] & changed[-1]).sum() > 0.5 * changed[0].sum()
    assert np.array_equal(soiled.frames, soil_lens(clip, 4, seed=3).frames)


def test_a_standing_vehicle_repeats_its_first_frame_and_pose() -> None:
    still = stand_still(street(num_frames=5))
    assert not frame_changes(still.frames[0, ..., 0]).any()
    np.testing.assert_array_equal(still.scene.ego_to_world, np.tile(still.scene.ego_to_world[0], (5, 1, 1)))
    assert [track.id for track in still.scene.tracks] == ["car"]


def with_source(clip: Clip, source: str, number: int) -> Clip:
    return Clip(scene=replace(clip.scene, clip_id=f"clip-{number}", source=source), frames=clip.frames)


def test_simulated_clips_are_worn_like_recordings_and_recordings_only_compressed() -> None:
    clip = street(num_frames=5)
    simulated = [wear_known_good(with_source(clip, "simulated:a", n)) for n in range(12)]
    recorded = [wear_known_good(with_source(clip, "nuscenes:a", n)) for n in range(12)]
    assert all(difference(clip, worn).mean() > 0.5 for worn in simulated)
    untouched = [np.array_equal(clip.frames, worn.frames) for worn in recorded]
    assert 4 <= sum(untouched) <= 11 and all(worn.scene.ego_to_world is not None for worn in recorded)
    assert max(difference(clip, worn).mean() for worn in recorded) < 8
    again = wear_known_good(with_source(clip, "simulated:a", 3))
    assert np.array_equal(again.frames, simulated[3].frames)


def test_a_worn_clip_agrees_with_its_command() -> None:
    clip = street(height=128, width=224)
    residuals = [static_track_residual(wear_known_good(with_source(clip, "simulated:a", n))) for n in range(3)]
    assert all(residual is None or residual < 1.0 for residual in residuals) and any(residuals)


def noisy(clip: Clip, rms: float) -> Clip:
    frames = clip.frames + np.random.default_rng(0).normal(0, rms, clip.frames.shape)
    return Clip(scene=clip.scene, frames=frames.round().clip(0, 255).astype(np.uint8))


def test_a_standing_camera_shows_no_cut_and_no_repeat_under_any_compression() -> None:
    """Copied blocks and key frames of a codec are neither repeated frames nor cuts; a repeated raw frame is one."""
    still = stand_still(street(num_frames=17))
    for noise in (0.5, 4.0):
        for crf in (18, 30):
            measures = measure(compress(noisy(still, noise), crf))
            assert measures["time_cut"].value < 2.2 and measures["time_duplicate"].value < 0.6, (noise, crf)
    repeated = noisy(still, 8.0).frames.copy()
    repeated[:, 10] = repeated[:, 9]
    assert measure(Clip(scene=still.scene, frames=repeated))["time_duplicate"].value > 0.6
