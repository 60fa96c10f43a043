"""The formulas on exact points, for any scene and motion."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.validation.camera.epipolar import essential_matrix, sampson_distance, skew_symmetric
from driveforge.validation.camera.pairs import FramePair
from driveforge.validation.camera.pose_refinement import refine_motion, rotation_matrix
from driveforge.validation.camera.triangulation import triangulate
from driveforge.validation.point_tracking.box_motion import ray_box
from driveforge.validation.views.view import CameraMotion

PIXEL = 1 / 218  # 256 rows of a camera with a field of view of about 60 degrees
UP = np.array([0.0, -1.0, 0.0])

seeds = st.integers(0, 2**32 - 1)
angles = st.floats(-0.2, 0.2)
vectors = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array)


def exact_pair(seed: int, rotation: np.ndarray, translation: np.ndarray, noise_px: float = 0.0) -> FramePair:
    rng = np.random.default_rng(seed)
    points = rng.uniform([-6, -3, 6], [6, 3, 40], (120, 3))
    moved = points @ rotation.T + translation
    a, b = points / points[:, 2:], moved / moved[:, 2:]
    b[:, :2] += rng.normal(0, noise_px * PIXEL, (120, 2))
    motion = CameraMotion(rotation=rotation, translation=translation)
    return FramePair(first=0, last=4, a=a, b=b, image=np.zeros((120, 2), np.float32), motion=motion)


@given(seeds, vectors, st.floats(-0.2, 0.2), st.floats(0.3, 2))
def test_sampson_vanishes_on_exact_correspondences(seed: int, axis: np.ndarray, side: float, ahead: float) -> None:
    pair = exact_pair(seed, rotation_matrix(0.1 * axis), np.array([side, 0.0, -ahead]))
    distances = sampson_distance(essential_matrix(pair.motion.rotation, pair.motion.translation), pair.a, pair.b)
    assert np.abs(distances).max() < 1e-9


@given(seeds, st.floats(1e-3, 1e3))
def test_sampson_does_not_change_with_the_scale_of_the_translation(seed: int, scale: float) -> None:
    pair = exact_pair(seed, rotation_matrix(np.array([0.0, 0.05, 0.0])), np.array([0.1, 0.0, -1.0]), noise_px=2.0)
    one = sampson_distance(essential_matrix(pair.motion.rotation, pair.motion.translation), pair.a, pair.b)
    other = sampson_distance(skew_symmetric(scale * pair.motion.translation) @ pair.motion.rotation, pair.a, pair.b)
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.abs(one).max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(seeds, angles, st.floats(-0.02, 0.02), st.floats(-0.15, 0.15))
def test_refinement_finds_a_known_error_of_the_command(seed: int, yaw: float, pitch: float, side: float) -> None:
    true = exact_pair(seed, rotation_matrix(np.array([0.01, 0.02, 0.0])), np.array([side, 0.02, -2.0]), noise_px=0.2)
    error = rotation_matrix(np.array([0.0, yaw, 0.0])) @ rotation_matrix(np.array([pitch, 0.0, 0.0]))
    wrong = CameraMotion(rotation=error.T @ true.motion.rotation, translation=np.array([0.0, 0.0, -2.0]))
    refined = refine_motion(replace(true, motion=wrong), UP, PIXEL)
    left_over = refined.rotation @ true.motion.rotation.T
    assert np.degrees(np.arccos(np.clip((np.trace(left_over) - 1) / 2, -1, 1))) < 0.25
    assert refined.deviation == pytest.approx(np.arctan(np.hypot(side, 0.02) / 2), abs=0.02)


@settings(max_examples=25, deadline=None)
@given(seeds, angles)
def test_refinement_of_a_stationary_camera_finds_its_rotation_among_moving_objects(seed: int, yaw: float) -> None:
    seen = exact_pair(seed, rotation_matrix(np.array([0.0, yaw, 0.0])), np.zeros(3), noise_px=0.2)
    seen.b[:30, 0] += 20 * PIXEL  # a quarter of the tracks are on moving objects
    refined = refine_motion(replace(seen, motion=CameraMotion(rotation=np.eye(3), translation=np.zeros(3))), UP, PIXEL)
    np.testing.assert_allclose(refined.correction, [0, yaw, 0], atol=np.radians(0.1))
    assert refined.direction is None


@given(seeds)
def test_triangulation_returns_the_observed_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, centers = rng.uniform([-5, -5, 5], [5, 5, 30], (20, 3)), rng.uniform(-1, 1, (6, 3))
    np.testing.assert_allclose(triangulate(points - centers[:, None], centers), points, atol=1e-3)


@given(seeds)
def test_rays_enter_a_box_on_its_near_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, inside = np.array([4.0, 2.0, 1.5]), rng.uniform(-0.49, 0.49, (30, 3)) * [4.0, 2.0, 1.5]
    origin = np.array([-12.0, *rng.uniform(-3, 3, 2)])
    entered, hit = ray_box(origin, inside - origin, size)
    assert hit.all()
    on_face = np.isclose(np.abs(entered), size / 2, atol=1e-9).any(1)
    assert on_face.all() and (np.abs(entered) <= size / 2 + 1e-9).all()
    assert (np.linalg.norm(entered - origin, axis=1) <= np.linalg.norm(inside - origin, axis=1) + 1e-9).all()
    assert not ray_box(origin, origin - inside, size)[1].any()
