"""Measures of a good clip, and of the same clip with one corruption."""

import json
from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.scene import Camera, Clip
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.measure_definition import FAMILIES
from driveforge.validation.measures import Measures, measure, recovered_yaw_rate, static_track_residual
from driveforge.validation.records import NO_BOXES, NO_INTRINSICS, NO_POSE, STATIONARY_EGO
from tests.validation.street import brightened, commanded_box, commanded_yaw, drive, reordered, resized, street

FRAMES = np.arange(17)


def value(measures: Measures, name: str) -> float:
    found = measures[name].value
    assert found is not None, measures[name].reason
    return found


def test_a_good_clip_agrees_with_its_command(clip: Clip, good: Measures) -> None:
    assert [m.name for m in good.values] == list(DEFINITIONS)
    assert {m.family for m in good.values} == set(FAMILIES)
    assert value(good, "track_epipolar") < 0.8
    assert value(good, "pose_yaw") < 0.2
    assert value(good, "pose_scale_road") < 0.05
    assert value(good, "object_residual") < 0.5
    assert value(good, "time_still") < 0.15
    assert static_track_residual(clip) == value(good, "track_epipolar")


def test_measuring_is_deterministic_and_survives_json(clip: Clip, good: Measures) -> None:
    assert measure(clip) == good
    assert Measures.from_json(json.loads(json.dumps(good.to_json()))) == good


def test_a_yaw_drift_in_the_command_is_measured_as_what_it_is(clip: Clip, good: Measures) -> None:
    corrupted = measure(commanded_yaw(clip, 3.0))
    assert value(corrupted, "pose_yaw") == pytest.approx(3.0, abs=0.4)
    assert value(corrupted, "track_epipolar") > 5 * value(good, "track_epipolar")
    assert value(corrupted, "track_reprojection") > 4 * value(good, "track_reprojection")


def test_a_frozen_clip_is_detected(clip: Clip, good: Measures) -> None:
    frozen = measure(reordered(clip, [0] * 17))
    assert value(frozen, "time_still") > 0.95 > 5 * value(good, "time_still")
    assert value(frozen, "time_duplicate") == pytest.approx(1.0)
    noise = np.random.default_rng(0).normal(0, 1.5, clip.frames.shape)
    shimmering = np.clip(reordered(clip, [0] * 17).frames + noise, 0, 255).astype(np.uint8)
    assert value(measure(Clip(scene=clip.scene, frames=shimmering)), "time_still") > 0.95


@pytest.mark.parametrize(
    ("order", "raised"),
    [
        (np.random.default_rng(0).permutation(17), ("time_acceleration", "time_track_loss", "track_cheirality")),
        (FRAMES[::-1], ("track_cheirality",)),
        ([*range(8), 7, *range(9, 17)], ("time_duplicate", "time_acceleration")),
        ([*range(6), 7, 6, *range(8, 17)], ("time_acceleration",)),
        ([*range(9), *[8] * 8], ("time_still", "time_duplicate")),
    ],
    ids=["shuffled", "reversed", "one frame twice", "two frames swapped", "second half frozen"],
)
def test_frames_out_of_order_raise(order: list[int], raised: tuple[str, ...], clip: Clip, good: Measures) -> None:
    corrupted = measure(reordered(clip, order))
    for name in raised:
        assert value(corrupted, name) > 2 * value(good, name), name


def test_a_cut_is_found_at_its_frame(clip: Clip, good: Measures) -> None:
    other = street(seed=1)
    cut = np.concatenate([clip.frames[:, :9], other.frames[:, 9:]], 1)
    corrupted = measure(Clip(scene=clip.scene, frames=cut))
    assert value(corrupted, "time_cut") > 1.4 * value(good, "time_cut")
    assert corrupted["time_cut"].frames == (8, 9)
    assert value(corrupted, "time_track_loss") > 2 * value(good, "time_track_loss")


def test_flicker_is_distinguished_from_motion(clip: Clip, good: Measures) -> None:
    corrupted = measure(brightened(clip, 1 + 0.05 * np.random.default_rng(0).normal(size=17)))
    assert value(corrupted, "time_flicker_global") > 5 * value(good, "time_flicker_global")
    assert value(corrupted, "track_epipolar") < 2 * value(good, "track_epipolar")


def test_an_object_that_drifts_from_its_box(clip: Clip, good: Measures) -> None:
    corrupted = measure(commanded_box(clip, -0.1 * FRAMES))
    for name in ("object_residual", "object_jump", "object_drift"):
        assert value(corrupted, name) > 5 * value(good, name), name
        assert corrupted[name].track == "car"
    assert value(corrupted, "track_epipolar") < 2 * value(good, "track_epipolar")


def test_an_object_that_jumps_at_one_frame(clip: Clip, good: Measures) -> None:
    corrupted = measure(commanded_box(clip, -2.0 * (FRAMES > 8)))
    assert value(corrupted, "object_jump") > 5 * value(good, "object_jump")
    assert value(corrupted, "object_appearance") > 2 * value(good, "object_appearance")


@pytest.mark.parametrize("drawn_until", [0, 9], ids=["never drawn", "vanishes"])
def test_a_missing_object(drawn_until: int, good: Measures) -> None:
    corrupted = measure(street(draw_car=lambda t: t < drawn_until))
    assert value(corrupted, "object_unsupported") > max(0.6, 3 * value(good, "object_unsupported"))
    assert corrupted["object_unsupported"].track == "car"


@pytest.mark.parametrize("rate", [12.0, -12.0])
def test_the_observed_yaw_rate_is_recovered_under_any_command(rate: float) -> None:
    turning = street(yaw_rate=rate)
    assert recovered_yaw_rate(turning) == pytest.approx(rate, abs=1.0)
    assert recovered_yaw_rate(commanded_yaw(turning, -rate)) == pytest.approx(rate, abs=1.0)


def test_larger_images_give_comparable_numbers() -> None:
    large = measure(street(height=256, width=448, num_frames=9))
    assert value(large, "track_epipolar") < 0.5
    assert value(large, "pose_yaw") < 0.3


def test_unmeasurable_values_have_a_reason(clip: Clip) -> None:
    scene = clip.scene
    bare = replace(scene.cameras[0], intrinsics=None)
    assert measure(clip.with_scene(ego_to_world=None))["pose_yaw"].reason == NO_POSE
    assert measure(clip.with_scene(cameras=(bare,)))["track_epipolar"].reason == NO_INTRINSICS
    assert measure(clip.with_scene(tracks=()))["object_drift"].reason == NO_BOXES
    gray = measure(Clip(scene=scene, frames=np.full_like(clip.frames, 90)))
    assert gray["track_epipolar"].reason == gray["pose_yaw"].reason == "too few tracks (0)"
    assert gray["object_unsupported"].value == 1.0


def test_a_stationary_ego_is_measured_on_the_static_background() -> None:
    stationary_pairs = street(speed=0.0, num_frames=9)
    still = measure(stationary_pairs)
    assert still["track_epipolar"].reason == still["time_still"].reason == STATIONARY_EGO
    assert value(still, "pose_yaw") < 0.2
    assert value(still, "track_stationary") < 0.5
    driven = street(num_frames=9).with_scene(ego_to_world=drive(9, 0.0, 0.0))
    assert value(measure(driven), "track_stationary") > 5


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(1, 96, 160), (4, 96, 160), (17, 1, 1), (17, 16, 16), (17, 160, 20)]
)
def test_odd_shapes_are_measured_or_refused_but_never_crash(frames: int, height: int, width: int, clip: Clip) -> None:
    scene = clip.scene
    camera = resized(scene.cameras[0], height, width)
    small = replace(
        scene,
        timestamps=scene.timestamps[:frames],
        ego_to_world=scene.ego_to_world[:frames],
        cameras=(camera,),
        tracks=tuple(
            replace(k, box_to_world=k.box_to_world[:frames], present=k.present[:frames]) for k in scene.tracks
        ),
    )
    pixels = np.random.default_rng(0).integers(0, 255, (1, frames, height, width, 3), np.uint8)
    for m in measure(Clip(scene=small, frames=pixels)).values:
        assert (m.value is None) == (m.state == "unmeasurable") == bool(m.reason)


def test_held_frames_are_not_measured(clip: Clip, good: Measures) -> None:
    frames = clip.frames.copy()
    frames[:, 12:] = frames[:, 11:12]
    held = measure(Clip(scene=replace(clip.scene, held_frames=5), frames=frames))
    assert value(held, "time_still") < 2 * value(good, "time_still")
    assert all(max(m.frames, default=0) < 12 for m in held.values)


def test_other_cameras_are_measured_under_their_names(clip: Clip) -> None:
    scene = clip.scene
    duplicate = replace(scene.cameras[0], name="back")
    blind = Camera(name="blind", width=160, height=96)
    frames = np.concatenate([np.zeros_like(clip.frames), clip.frames, clip.frames[:, ::-1]])
    both = measure(Clip(scene=replace(scene, cameras=(blind, scene.cameras[0], duplicate)), frames=frames))
    assert value(both, "track_cheirality") < 0.1 < 0.9 < value(both, "back/track_cheirality")
    assert not any(m.name.startswith("blind/") for m in both.values)


@pytest.mark.real
def test_real_footage_agrees_with_its_true_pose_and_not_with_a_wrong_one(kitti: Clip) -> None:
    true = measure(kitti)
    assert value(true, "track_epipolar") < 1.0
    assert value(true, "pose_yaw") < 1.0
    drifted = measure(_turned(kitti, 3.0))
    assert value(drifted, "track_epipolar") > 2 * value(true, "track_epipolar")
    assert value(drifted, "pose_yaw") == pytest.approx(3.0, abs=0.6)
    shuffled = measure(reordered(kitti, np.random.default_rng(0).permutation(24)))
    for name in ("time_acceleration", "time_track_loss", "track_cheirality"):
        assert value(shuffled, name) > 2 * value(true, name), name


def _turned(clip: Clip, rate: float) -> Clip:
    """The same pixels and positions under headings that drift by ``rate`` deg/s."""
    drift = drive(clip.scene.num_frames, 0.0, rate)
    return clip.with_scene(ego_to_world=clip.scene.ego_to_world @ drift)
