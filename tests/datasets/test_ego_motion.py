import numpy as np
import pytest

from driveforge.datasets.ego_motion import ego_motion
from driveforge.datasets.geometry import pose, yaw_rotation
from driveforge.datasets.scene import Scene
from tests.datasets.small_clips import bare_clip, small_scene

TIMES = np.array([0.0, 0.1, 0.21, 0.3, 0.4, 0.52, 0.6])


def driving(headings: np.ndarray, path: np.ndarray) -> Scene:
    from dataclasses import replace

    poses = pose(yaw_rotation(headings), np.column_stack([path, np.zeros(len(path))]))
    return replace(small_scene(num_frames=len(TIMES)), timestamps=TIMES, ego_to_world=poses, tracks=())


@pytest.mark.parametrize("side", [1.0, -1.0], ids=["left", "right"])
def test_a_circle_has_constant_speed_and_curvature(side: float) -> None:
    """8 m/s on a radius of 20 m: 0.4 rad/s."""
    angles = side * 0.4 * TIMES
    path = 20.0 * np.column_stack([np.sin(np.abs(angles)), side * (1 - np.cos(angles))])
    motion = ego_motion(driving(np.pi - 0.05 + angles, path @ yaw_rotation(np.pi - 0.05)[:2, :2].T))
    np.testing.assert_allclose(motion.speed[1:-1], 8.0, rtol=1e-2)
    np.testing.assert_allclose(motion.yaw_rate, side * 0.4, atol=1e-9)
    np.testing.assert_allclose(motion.curvature[1:-1], side / 20, rtol=1e-2)


def test_braking_reversing_and_standing() -> None:
    braking = ego_motion(driving(np.zeros(7), np.column_stack([10 * TIMES - 2.5 * TIMES**2, 0 * TIMES])))
    np.testing.assert_allclose(braking.acceleration[2:-2], -5.0, atol=0.2)
    reversing = ego_motion(driving(np.zeros(7), np.column_stack([-3 * TIMES, 0 * TIMES])))
    np.testing.assert_allclose(reversing.speed, -3.0)
    standing = ego_motion(driving(np.zeros(7), np.zeros((7, 2))))
    assert not standing.speed.any() and np.isnan(standing.curvature).all()


def test_without_poses_or_with_one_frame_the_motion_is_unknown() -> None:
    for scene in (bare_clip().scene, small_scene(num_frames=1)):
        motion = ego_motion(scene)
        assert np.isnan(motion.speed).all() and len(motion.curvature) == scene.num_frames
