"""Corruptions of the command have the requested strength and change nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driveforge.datasets.geometry import inverse, pose, yaw_from_pose, yaw_rotation
from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.catalog import corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.corruption_clips import simulated
from tests.validation.street import CAR_SIZE, drive

seeds = st.integers(0, 2**32 - 1)
# The clip is shared by all examples: nothing may change it.
many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(rate=st.floats(0.01, 30), turn=st.floats(-20, 20), seed=seeds)
def test_yaw_rate(clip: Clip, rate: float, turn: float, seed: int) -> None:
    true = drive(17, 8.0, turn)
    path = corrupt(clip.with_scene(ego_to_world=true), "yaw-rate", rate, seed=seed).scene.ego_to_world
    np.testing.assert_array_equal(path[0], true[0])
    steps, true_steps = inverse(path[:-1]) @ path[1:], inverse(true[:-1]) @ true[1:]
    turned = np.degrees(yaw_from_pose(steps) - yaw_from_pose(true_steps)) / 0.1
    np.testing.assert_allclose(turned, np.sign(turned[0]) * rate, atol=1e-6)
    np.testing.assert_allclose(steps[:, :3, 3], true_steps[:, :3, 3], atol=1e-9)


def test_the_seed_decides_the_side(clip: Clip) -> None:
    ends = {yaw_from_pose(corrupt(clip, "yaw-rate", 5.0, seed=seed).scene.ego_to_world[-1]) > 0 for seed in range(8)}
    assert ends == {True, False}


@many
@given(drift=st.floats(0.01, 3), seed=seeds)
def test_lateral_drift(clip: Clip, drift: float, seed: int) -> None:
    true = drive(17, 8.0, 10.0)
    path = corrupt(clip.with_scene(ego_to_world=true), "lateral-drift", drift, seed=seed).scene.ego_to_world
    off = inverse(true) @ path
    aside = off[:, 1, 3]
    np.testing.assert_allclose(np.abs(aside), drift * np.arange(17) / 10, atol=1e-9)
    assert abs(aside.sum()) == pytest.approx(np.abs(aside).sum())
    np.testing.assert_allclose(off, pose(np.eye(3), off[:, :3, 3] * [0, 1, 0]), atol=1e-9)


@many
@given(percent=st.floats(1, 200), seed=seeds)
def test_speed(clip: Clip, percent: float, seed: int) -> None:
    true = drive(17, 8.0, 10.0)
    path = corrupt(clip.with_scene(ego_to_world=true), "speed", percent, seed=seed).scene.ego_to_world
    faster = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1) / 0.8
    np.testing.assert_allclose(np.maximum(faster, 1 / faster), 1 + percent / 100)
    np.testing.assert_array_equal(path[:, :3, :3], true[:, :3, :3])


def test_the_speed_of_a_stationary_ego_cannot_be_corrupted(clip: Clip) -> None:
    with pytest.raises(CorruptionNotApplicable, match="moves less than 1 m"):
        corrupt(clip.with_scene(ego_to_world=drive(17, 0.0, 0.0)), "speed", 40, seed=0)


@many
@given(degrees=st.floats(0.01, 3), seed=seeds)
def test_pose_jitter(clip: Clip, degrees: float, seed: int) -> None:
    path = corrupt(clip, "pose-jitter", degrees, seed=seed).scene.ego_to_world
    off = inverse(clip.scene.ego_to_world) @ path
    angles = np.arccos(np.clip((np.trace(off[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.degrees(np.sqrt((angles**2).mean())) == pytest.approx(np.sqrt(3) * degrees, rel=1e-3)
    np.testing.assert_allclose(off[:, :3, 3], 0, atol=1e-9)


@many
@given(percent=st.floats(1, 100), seed=seeds)
def test_focal_length(percent: float, seed: int) -> None:
    corrupted = corrupt(simulated(), "focal-length", percent, seed=seed).scene
    for camera, true in zip(corrupted.cameras, simulated().scene.cameras, strict=True):
        longer = camera.intrinsics[0, 0] / true.intrinsics[0, 0]
        assert max(longer, 1 / longer) == pytest.approx(1 + percent / 100)
        assert camera.intrinsics[1, 1] / true.intrinsics[1, 1] == pytest.approx(longer)
        np.testing.assert_array_equal(camera.intrinsics[:, 2], true.intrinsics[:, 2])


@many
@given(meters=st.floats(0.1, 10), seed=seeds)
def test_object_teleport(clip: Clip, meters: float, seed: int) -> None:
    off = _off(clip, "object-teleport", meters, seed)
    away = np.linalg.norm(off, axis=1)
    start = int(np.argmax(away > 0))
    assert 3 <= start <= 14
    np.testing.assert_array_equal(away[:start], 0)
    np.testing.assert_allclose(away[start:], meters)
    np.testing.assert_allclose(off[start:], np.tile(off[-1], (17 - start, 1)), atol=1e-9)
    assert np.abs(off[:, 2]).max() < 1e-9, "along the ground"


@many
@given(drift=st.floats(0.1, 5), seed=seeds)
def test_object_drift(clip: Clip, drift: float, seed: int) -> None:
    off = _off(clip, "object-drift", drift, seed)
    np.testing.assert_allclose(off, np.linspace(0, 1, 17)[:, None] * off[-1], atol=1e-9)
    assert np.linalg.norm(off[-1]) == pytest.approx(1.6 * drift)


def _off(clip: Clip, corruption_type: str, strength: float, seed: int) -> np.ndarray:
    """The offset ``(T, 3)`` m of the only box in the world; its heading and size must be unchanged."""
    (true,) = clip.scene.tracks
    (box,) = corrupt(clip, corruption_type, strength, seed=seed).scene.tracks
    np.testing.assert_array_equal(box.box_to_world[:, :3, :3], true.box_to_world[:, :3, :3])
    np.testing.assert_array_equal(box.size, true.size)
    return np.asarray(box.box_to_world[:, :3, 3] - true.box_to_world[:, :3, 3])


@pytest.mark.parametrize("corruption_type", ["uncommanded-parked", "uncommanded-moving"])
@pytest.mark.parametrize(("percent", "gone"), [(50, 6), (100, 13)])
def test_uncommanded(corruption_type: str, percent: float, gone: int) -> None:
    corrupted = corrupt(simulated(), corruption_type, percent, seed=0)
    changed = [
        (track, true)
        for track, true in zip(corrupted.scene.tracks, simulated().scene.tracks, strict=True)
        if (track.present != true.present).any()
    ]
    ((track, true),) = changed
    assert not track.present[-gone:].any()
    np.testing.assert_array_equal(track.present[:-gone], true.present[:-gone])
    way = np.linalg.norm(np.diff(true.box_to_world[true.present, :3, 3], axis=0), axis=1).sum()
    assert way < 0.5 if corruption_type == "uncommanded-parked" else way > 2


@many
@given(seed=seeds, turn=st.sampled_from([-15.0, 0.0, 15.0]))
def test_missing_vehicle(clip: Clip, seed: int, turn: float) -> None:
    path = drive(17, 8.0, turn)
    adjacent = replace(clip.scene.tracks[0], box_to_world=path @ pose(yaw_rotation(0.0), [9.0, 3.0, CAR_SIZE[2] / 2]))
    good = clip.with_scene(ego_to_world=path, tracks=(adjacent,))
    corrupted = corrupt(good, "missing-vehicle", 50, seed=seed)
    true, car = corrupted.scene.tracks
    assert true is adjacent
    assert car.present.tolist() == [False] * 9 + [True] * 8
    np.testing.assert_allclose(car.box_to_world[:, 2, 3] - car.size[2] / 2, 0, atol=1e-9)
    speeds = np.linalg.norm(np.diff(car.box_to_world[:, :3, 3], axis=0), axis=1) / 0.1
    assert 6 < speeds.min() <= speeds.max() < 11, "it drives with the ego, at 8 m/s"
    boxes = project_boxes(reference_view(corrupted))
    assert boxes.judged[car.present, 1].mean() >= 0.75
    nearer_than_touching = (car.size[1] + adjacent.size[1]) / 2
    assert np.linalg.norm((car.box_to_world - adjacent.box_to_world)[:, :2, 3], axis=1).min() > nearer_than_touching


def test_a_full_road_has_no_place_for_another_box() -> None:
    with pytest.raises(CorruptionNotApplicable, match="no free space in view"):
        corrupt(simulated(), "missing-vehicle", 100, seed=0)


@many
@given(degrees=st.floats(0.1, 10), seed=seeds, corruption_type=st.sampled_from(["camera-yaw", "camera-pitch"]))
def test_camera_yaw_and_pitch(degrees: float, seed: int, corruption_type: str) -> None:
    first, turned = corrupt(simulated(), corruption_type, degrees, seed=seed).scene.cameras
    true_first, true = simulated().scene.cameras
    assert first is true_first
    rotation = turned.camera_to_ego[:3, :3] @ true.camera_to_ego[:3, :3].T
    angle = np.degrees(np.arccos((np.trace(rotation) - 1) / 2))
    assert angle == pytest.approx(degrees, rel=1e-6)
    axis = [0.0, 0.0, 1.0] if corruption_type == "camera-yaw" else true.camera_to_ego[:3, 0]
    np.testing.assert_allclose(rotation @ axis, axis, atol=1e-9)
    np.testing.assert_array_equal(turned.camera_to_ego[:3, 3], true.camera_to_ego[:3, 3])


def test_a_moving_mount_is_rotated_in_every_frame() -> None:
    scene = simulated().scene
    moving_pairs = np.tile(scene.cameras[1].camera_to_ego, (13, 1, 1))
    moving_pairs[:, 0, 3] += 0.04 * np.arange(13)
    cameras = (scene.cameras[0], replace(scene.cameras[1], camera_to_ego=moving_pairs))
    turned = corrupt(simulated().with_scene(cameras=cameras), "camera-pitch", 2.0, seed=0).scene.cameras[1]
    np.testing.assert_array_equal(turned.camera_to_ego[:, :3, 3], moving_pairs[:, :3, 3])
    np.testing.assert_allclose(
        turned.camera_to_ego[:, 2, 2], np.sin(np.radians(2)) * np.sign(turned.camera_to_ego[0, 2, 2])
    )


def test_camera_async() -> None:
    good = simulated()
    corrupted = corrupt(good, "camera-async", 0.3, seed=0)
    assert corrupted.scene.num_frames == 10
    np.testing.assert_array_equal(corrupted.frames[0], good.frames[0, :10])
    np.testing.assert_array_equal(corrupted.frames[1], good.frames[1, 3:])
    np.testing.assert_array_equal(corrupted.scene.timestamps, good.scene.timestamps[:10])
    with pytest.raises(CorruptionNotApplicable, match=r"0\.04 s is less than half a frame at 10 Hz"):
        corrupt(good, "camera-async", 0.04, seed=0)
