import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, inverse, is_rigid, pose
from driveforge.datasets.nuscenes.extrapolate import motion_to_twist, twists_to_motions
from driveforge.datasets.nuscenes.poses import (
    pose_fields,
    quaternion_to_rotation,
    rotation_to_quaternion,
    rows_to_poses,
)

numbers = st.floats(-1, 1)


@given(st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_quaternions_and_rotations_are_converted_both_ways(quaternion: tuple[float, ...]) -> None:
    rotation = quaternion_to_rotation(quaternion)
    assert is_rigid(pose(rotation, np.zeros(3)), 1e-9)
    back = rotation_to_quaternion(rotation)
    assert back[0] >= 0 and np.allclose(quaternion_to_rotation(back), rotation, atol=1e-12)


def test_a_pose_survives_its_row() -> None:
    for rotation in (np.eye(3), FORWARD_CAMERA_TO_EGO[:3, :3], np.diag([1.0, -1, -1]), np.diag([-1.0, -1, 1])):
        expected = pose(rotation, [1.5, -2.0, 1e6])
        assert np.allclose(rows_to_poses([pose_fields(expected)])[0], expected, atol=1e-12)


def test_rotations_match_the_devkit() -> None:
    from pyquaternion import Quaternion

    q = Quaternion(0.5, -0.1, 0.7, 0.3).normalised
    assert np.allclose(quaternion_to_rotation(q.elements), q.rotation_matrix, atol=1e-12)
    stack = np.stack([q.rotation_matrix, np.eye(3)])
    assert np.allclose(rotation_to_quaternion(stack), [q.elements, [1, 0, 0, 0]], atol=1e-12)


@given(st.tuples(*[st.floats(-1.5, 1.5)] * 3), st.tuples(*[st.floats(-30, 30)] * 3))
def test_a_motion_is_the_exponential_of_its_twist(turn: tuple[float, ...], velocity: tuple[float, ...]) -> None:
    twist = np.array([*turn, *velocity])
    whole = twists_to_motions(twist[None])[0]
    assert np.allclose(motion_to_twist(whole), twist, atol=1e-5)
    half = twists_to_motions(twist[None] / 2)[0]
    assert np.allclose(half @ half, whole, atol=1e-9) and np.allclose(half @ inverse(half), np.eye(4), atol=1e-9)
