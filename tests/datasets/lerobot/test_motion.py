"""States and actions of episodes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.lerobot.motion import actions, states
from driveforge.datasets.scene import Camera, Scene


def arc(speed: float, yaw_rate: float, times: Array, start: Array) -> Array:
    """Poses ``(T, 4, 4)`` on a circle, exactly, from the pose ``start`` ``(4, 4)``."""
    heading = yaw_rate * (times - times[0])
    if abs(yaw_rate) < 1e-9:
        offset = np.stack([speed * (times - times[0]), 0 * times, 0 * times], -1)
    else:
        offset = speed / yaw_rate * np.stack([np.sin(heading), 1 - np.cos(heading), 0 * times], -1)
    return np.asarray(start @ pose(yaw_rotation(heading), offset))


def scene_of(poses: Array, times: Array) -> Scene:
    camera = Camera(name="front", width=80, height=48)
    return Scene(clip_id="arc", domain="driving-day", timestamps=times, cameras=(camera,), ego_to_world=poses)


def place(x: float, yaw: float) -> Array:
    return pose(yaw_rotation(yaw), [x, -3.0, 1.0])


@given(st.floats(-15, 30), st.floats(-0.5, 0.5), st.floats(-1e4, 1e4), st.floats(-3.1, 3.1))
def test_speed_and_yaw_rate_of_an_arc(speed: float, yaw_rate: float, x: float, yaw: float) -> None:
    times = 5.0 + np.arange(20) / 10
    found = states(scene_of(arc(speed, yaw_rate, times, place(x, yaw)), times))
    np.testing.assert_allclose(found[0, :4], 0, atol=1e-7)
    np.testing.assert_allclose(found[1:-1, 4], speed, atol=0.02)
    np.testing.assert_allclose(found[:, 5], yaw_rate, atol=1e-6)


@given(st.floats(-15, 30), st.floats(-3.0, 3.0), st.floats(-1e3, 1e3), st.floats(-3.1, 3.1))
def test_actions_lead_from_each_state_to_the_next(speed: float, yaw_rate: float, x: float, yaw: float) -> None:
    times = np.arange(15) / 10
    poses = arc(speed, yaw_rate, times, place(x, yaw))
    found, moves = states(scene_of(poses, times)), actions(poses)
    assert moves.shape == (15, 3)
    np.testing.assert_array_equal(moves[-1], moves[-2])
    heading = found[:-1, 3]
    forward, left, turn = moves[:-1].T
    np.testing.assert_allclose(
        found[1:, 0], found[:-1, 0] + np.cos(heading) * forward - np.sin(heading) * left, atol=1e-6
    )
    np.testing.assert_allclose(
        found[1:, 1], found[:-1, 1] + np.sin(heading) * forward + np.cos(heading) * left, atol=1e-6
    )
    np.testing.assert_allclose(found[1:, 3], heading + turn, atol=1e-6)


def test_the_heading_goes_on_past_half_a_turn() -> None:
    times = np.arange(60) / 10
    found = states(scene_of(arc(5.0, 1.5, times, place(0, 0)), times))
    np.testing.assert_allclose(found[:, 3], 1.5 * times, atol=1e-9)
