"""Properties of poses, projection and boxes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from driveforge.datasets.geometry import (
    BOX_FACES,
    Array,
    box_corners,
    inverse,
    is_rigid,
    pixel_rays,
    pose,
    project,
    transform,
    yaw_from_pose,
    yaw_rotation,
)  # fmt: skip

vectors = arrays(np.float64, 3, elements=st.floats(-3, 3))
K = np.array([[120.0, 0, 79.5], [0, 118, 47.5], [0, 0, 1]])


def a_pose(rotation: Array, translation: Array) -> Array:
    return pose(Rotation.from_rotvec(rotation).as_matrix(), translation)


@given(vectors, vectors, arrays(np.float64, (7, 3), elements=st.floats(-50, 50)))
def test_inverse_undoes_transform(rotation: Array, translation: Array, points: Array) -> None:
    a_to_b = a_pose(rotation, translation)
    assert is_rigid(a_to_b)
    np.testing.assert_allclose(transform(inverse(a_to_b), transform(a_to_b, points)), points, atol=1e-9)


@given(st.floats(-3.1, 3.1), vectors)
def test_yaw_round_trip(yaw: float, translation: Array) -> None:
    assert abs(float(yaw_from_pose(pose(yaw_rotation(yaw), translation))) - yaw) < 1e-9


@given(st.integers(0, 159), st.integers(0, 95), st.floats(0.5, 80))
def test_projecting_a_pixels_ray_gives_the_pixel(u: int, v: int, depth: float) -> None:
    pixel, z = project(pixel_rays(K, 96, 160)[v, u] * depth, K)
    np.testing.assert_allclose(pixel, [u, v], atol=1e-9)
    assert abs(z - depth) < 1e-9


@given(vectors, vectors)
def test_faces_of_a_box_are_planar_and_face_outward_pairwise(rotation: Array, translation: Array) -> None:
    size = np.array([4.0, 2.0, 1.5])
    corners = box_corners(a_pose(rotation, translation), size)
    center = corners.mean(0)
    for (first, second), extent in zip(((0, 1), (2, 3), (4, 5)), size, strict=True):
        a, b = (corners[list(BOX_FACES[k])].mean(0) for k in (first, second))
        np.testing.assert_allclose((a + b) / 2, center, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(a - b), extent, atol=1e-9)


def test_a_reflection_is_not_rigid() -> None:
    assert not is_rigid(np.diag([1.0, 1, -1, 1]))
    assert not is_rigid(np.diag([1.0, 1, 1.01, 1]))
