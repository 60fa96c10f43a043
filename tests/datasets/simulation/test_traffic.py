"""Traffic simulation: following, lane changes and yielding."""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.datasets.simulation.traffic import (
    STEP_S,
    CrossingActor,
    Driver,
    Maneuver,
    Trajectory,
    resample,
    simulate,
)


def _driver(name: str, lane: int, along: float, speed: float) -> Driver:
    return Driver(name=name, length=4.5, width=1.9, lane=lane, along=along, speed=speed, target_speed=speed)


def _run(
    *drivers: Driver,
    maneuvers: tuple[Maneuver, ...] = (),
    crossing_actors: tuple[CrossingActor, ...] = (),
    seconds: float = 6.0,
) -> dict[str, Array]:
    motions = simulate(drivers, maneuvers, crossing_actors, lanes=(2, 1), lane_width=3.5, duration=seconds)
    return {motion.name: motion.states for motion in motions}


def _speeds(states: Array) -> Array:
    return np.linalg.norm(np.diff(states[:, :2], axis=0), axis=1) / STEP_S


def test_drivers_keep_their_lanes() -> None:
    states = _run(_driver("ahead", 0, 0, 10), _driver("right", 1, 0, 10), _driver("towards", -1, 100, 10))
    np.testing.assert_allclose(states["ahead"][:, 1], -1.75, atol=0.05)
    np.testing.assert_allclose(states["right"][:, 1], -5.25, atol=0.05)
    np.testing.assert_allclose(states["towards"][:, 1], 1.75, atol=0.05)
    assert states["ahead"][-1, 0] > 50 and states["towards"][-1, 0] < 50


def test_a_follower_brakes_with_its_leader_and_does_not_touch_it() -> None:
    stop = Maneuver(time=1.0, name="leader", target_speed=0.01)
    states = _run(_driver("ego", 0, 0, 12), _driver("leader", 0, 22, 12), maneuvers=(stop,), seconds=8)
    gaps = states["leader"][:, 0] - states["ego"][:, 0] - 4.5
    assert gaps.min() > 0.5
    assert _speeds(states["leader"])[-1] < 0.3 and _speeds(states["ego"])[-1] < 1.5
    assert np.diff(states["leader"][:, 0]).min() >= -1e-9, "no vehicle drives backwards"


def test_a_maneuver_changes_the_lane_smoothly() -> None:
    states = _run(_driver("ego", 0, 0, 10), maneuvers=(Maneuver(time=1.0, name="ego", lane=1),), seconds=8)["ego"]
    np.testing.assert_allclose(states[:20, 1], -1.75, atol=0.02)
    np.testing.assert_allclose(states[-1, 1], -5.25, atol=0.3)
    assert states[:, 1].min() > -5.6, "it does not overshoot"
    assert np.abs(np.degrees(states[:, 2])).max() < 13


def test_drivers_yield_to_a_pedestrian() -> None:
    walker = CrossingActor(name="walker", along=35, start=-9, end=6, time=0.5, speed=1.4, margin=0.8)
    states = _run(_driver("ego", 0, 0, 8), crossing_actors=(walker,), seconds=7)
    distance = np.hypot(*(states["ego"][:, :2] - states["walker"][:, :2]).T)
    assert distance.min() > 2.5
    assert _speeds(states["ego"]).min() < 4
    assert states["walker"][-1, 1] > -1


def test_resampling_interpolates_between_steps() -> None:
    motion = Trajectory(name="a", states=np.array([[0.0, 0, 0], [1.0, 2.0, 0], [2.0, 4.0, 0]]))
    np.testing.assert_allclose(resample(motion, np.array([0.025, 0.075])).states[:, :2], [[0.5, 1.0], [1.5, 3.0]])
