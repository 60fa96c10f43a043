"""Metric scale: a known factor on the commanded translation is found, or there is a reason why not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, inverse, pose, yaw_rotation
from driveforge.datasets.scene import Clip, Track
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.validation.camera.pose_refinement import rotation_matrix
from driveforge.validation.camera.scale import is_parked, solve_point_scales
from driveforge.validation.measure_tables.pose import (
    CAMERA_NOT_ALONG_ROAD,
    NO_CAMERA_HEIGHT,
    NO_PARKED_BOXES,
    ROAD_HIDDEN,
)
from driveforge.validation.measures import measure
from driveforge.validation.records import (
    NO_BOXES,
    NO_POSE,
    NO_ROAD_MATCH,
    NO_ROAD_TEXTURE,
    SMALL_BOXES,
    STATIONARY_EGO,
    Measure,
)
from tests.defaults import simulation_config
from tests.validation.street import commanded_speed, commanded_yaw, drive, street

FACTORS = (0.8, 1.0, 1.15, 1.4)
UNCERTAINTY = 0.13  # log scale: the largest part of an error over the road that may count as uncertainty


def road(clip: Clip) -> Measure:
    return measure(clip)["pose_scale_road"]


def is_beyond_uncertainty(value: float | None, factor: float) -> bool:
    """Whether ``value`` is abs(log ``factor``), less at most the uncertainty of the measurement."""
    error = abs(np.log(factor))
    return value is not None and max(error - UNCERTAINTY, 0.0) <= value <= max(error - 0.02, 0.0)


def boxes(clip: Clip) -> Measure:
    return measure(clip)["pose_scale_boxes"]


def on_the_ground(clip: Clip, height: float, pitch: float = 0.0) -> Clip:
    """The same camera poses, represented by a mount ``height`` m above the ego, pitched down by ``pitch`` deg."""
    nod = pose(rotation_matrix(np.radians(pitch) * np.array([-1.0, 0, 0])), np.zeros(3))
    mount = pose(np.eye(3), [1.5, 0.0, height]) @ FORWARD_CAMERA_TO_EGO @ nod
    camera = clip.scene.cameras[0]
    poses = clip.scene.camera_to_world(camera)
    return clip.with_scene(cameras=(replace(camera, camera_to_ego=mount),), ego_to_world=poses @ inverse(mount))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3.0), st.floats(-0.1, 0.1))
def test_every_exact_point_gives_the_factor_on_the_translation(seed: int, factor: float, yaw: float) -> None:
    points = np.random.default_rng(seed).uniform([-6, -3, 6], [6, 3, 40], (30, 3))
    turned = points @ rotation_matrix(np.array([0.0, yaw, 0.0])).T
    translation = np.array([0.3, 0.05, -1.5])
    moved = turned + factor * translation
    scales, parallax = solve_point_scales(turned, translation, moved / moved[:, 2:])
    np.testing.assert_allclose(scales[parallax > 1e-3], factor, rtol=1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_road_gives_the_speed_of_the_camera(factor: float, clip: Clip) -> None:
    assert is_beyond_uncertainty(road(commanded_speed(clip, factor)).value, factor)


@pytest.mark.parametrize("grade", [-0.02, 0.02])
def test_a_path_that_climbs_against_the_road_is_uncertain_and_not_faster(grade: float, clip: Clip) -> None:
    """The road seems to bend away from the path by a degree; on the plane of the path that is a speed error of 20 %."""
    path = np.array(clip.scene.ego_to_world)
    path[:, 2, 3] += grade * np.linalg.norm(path[:, :3, 3] - path[0, :3, 3], axis=1)
    climbing = road(clip.with_scene(ego_to_world=path)).value
    assert climbing is not None and climbing < 0.05


def test_the_road_measure_uses_the_observed_rotation(clip: Clip) -> None:
    assert road(commanded_yaw(clip, 4.0)).value == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("pitch", [-1.0, 1.0])
def test_a_pitch_error_is_corrected_by_the_path(pitch: float, clip: Clip) -> None:
    assert road(on_the_ground(clip, 1.6, pitch)).value == pytest.approx(0.0, abs=0.03)


def test_a_wrong_height_changes_the_scale(clip: Clip) -> None:
    assert is_beyond_uncertainty(road(on_the_ground(clip, 1.6 * 1.4)).value, 1.4)


@pytest.mark.parametrize("factor", FACTORS)
def test_parked_boxes_give_the_speed_of_the_camera(factor: float) -> None:
    passed = boxes(commanded_speed(street(parked=True, num_frames=9), factor))
    assert passed.track == "car"
    if factor == 1.0:
        assert passed.value == pytest.approx(0.0, abs=0.06)
    else:  # boxes that are closer than they appear add to the speed error
        assert passed.value is not None and passed.value > 0.75 * abs(np.log(factor))


def test_a_box_within_annotation_noise_is_parked() -> None:
    places = np.tile(np.eye(4), (6, 1, 1))
    places[:, 0, 3] = [0, 0.1, -0.1, 0.05, 0, 50]
    present = np.arange(6) < 5
    parked = Track(id="a", category="vehicle.car", size=np.ones(3), box_to_world=places, present=present)
    assert is_parked(parked)
    places[:, 0, 3] = 0.1 * np.arange(6)
    assert not is_parked(replace(parked, box_to_world=places))
    assert not is_parked(replace(parked, present=np.arange(6) < 1))


def test_the_reasons_without_a_road_scale(clip: Clip) -> None:
    scene = clip.scene
    aside = replace(scene.cameras[0], camera_to_ego=pose(yaw_rotation(1.5), [0, 0, 0]) @ scene.cameras[0].camera_to_ego)
    wall = Track(
        id="wall",
        category="vehicle.bus",
        size=np.array([1.0, 5.0, 1.4]),
        box_to_world=scene.ego_to_world @ pose(np.eye(3), [5.0, 0.0, 0.7]),
        present=np.ones(scene.num_frames, bool),
    )
    bare, noisy = clip.frames.copy(), clip.frames.copy()
    bare[:, :, 50:] = 120
    noisy[:, :, 50:] = np.random.default_rng(0).integers(0, 255, noisy[:, :, 50:].shape)
    assert road(clip.with_scene(ego_to_world=None)).reason == NO_POSE
    assert road(street(speed=0.0, num_frames=9)).reason == STATIONARY_EGO
    assert road(on_the_ground(clip, 0.0)).reason == NO_CAMERA_HEIGHT
    assert road(clip.with_scene(cameras=(aside,))).reason == CAMERA_NOT_ALONG_ROAD
    assert road(clip.with_scene(tracks=(wall,))).reason == ROAD_HIDDEN
    assert road(Clip(scene=scene, frames=bare)).reason == NO_ROAD_TEXTURE
    assert road(Clip(scene=scene, frames=noisy)).reason == NO_ROAD_MATCH
    assert road(Clip(scene=scene, frames=np.full_like(clip.frames, 90))).reason == "too few tracks (0)"


def test_the_reasons_without_a_scale_of_parked_boxes(clip: Clip) -> None:
    parked = street(parked=True, num_frames=9)
    scene = parked.scene
    far = scene.tracks[0].box_to_world.copy()
    far[:, :2, 3] = [37.0, 0.0]
    blank = parked.frames.copy()
    blank[:, :, 30:70, :80] = 120
    assert boxes(parked.with_scene(ego_to_world=None)).reason == NO_POSE
    assert boxes(parked.with_scene(tracks=())).reason == NO_BOXES
    assert boxes(clip).reason == NO_PARKED_BOXES
    assert boxes(parked.with_scene(ego_to_world=drive(9, 0.0, 0.0))).reason == STATIONARY_EGO
    assert boxes(parked.with_scene(tracks=(replace(scene.tracks[0], box_to_world=far),))).reason == SMALL_BOXES
    assert boxes(Clip(scene=scene, frames=blank)).reason.endswith("on parked boxes")


@pytest.mark.parametrize(("height", "width"), [(96, 160), (256, 448)])
def test_simulated_footage_agrees_with_its_speed_and_not_with_another(height: int, width: int) -> None:
    config = simulation_config(domains=("driving-day",), num_scenes=2, height=height, width=width, num_frames=13)
    source = SimulatedSource(config)
    drawn = source.load(source.scenes()[1])
    assert road(drawn).value == pytest.approx(0.0, abs=0.01)
    assert is_beyond_uncertainty(road(commanded_speed(drawn, 1.25)).value, 1.25)


@pytest.mark.real
def test_a_real_road_gives_the_speed(kitti: Clip) -> None:
    assert road(kitti).reason == NO_CAMERA_HEIGHT
    mounted = on_the_ground(kitti, 1.65)
    assert road(mounted).value == pytest.approx(0.0, abs=0.01)
    for factor in (1.2, 1.4, 0.8):
        assert is_beyond_uncertainty(road(commanded_speed(mounted, factor)).value, factor)
