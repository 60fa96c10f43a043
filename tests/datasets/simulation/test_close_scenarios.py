"""Scenarios with vehicles close to the ego vehicle, and their share."""

import numpy as np
import pytest

from driveforge.datasets.geometry import Array, inverse, transform
from driveforge.datasets.simulated_source import simulate_world
from driveforge.datasets.simulation.driving import build_driving_world
from driveforge.datasets.simulation.scenarios import CLOSE_SCENARIOS
from driveforge.datasets.simulation.world import World
from tests.defaults import simulation_config

CAMERA_X_M = 1.7
TIMES = np.arange(17) / 10
SEEDS = range(8)


def visible_distances(world: World) -> list[Array]:
    """For each moving vehicle, the distance (17,) m of its nearest visible point from the camera, infinite if none is.

    Points are along both sides of the vehicle, and visible within the 64 degrees of the front camera.
    """
    found = []
    for body in world.bodies:
        if body.category.startswith("vehicle") and len(body.poses) == len(TIMES):
            length, width, _ = body.size
            sides = [[x * length / 2, y * width / 2, 0] for x in np.linspace(-1, 1, 9) for y in (-1, 1)]
            points = np.stack([transform(m, np.array(sides)) for m in inverse(world.ego_to_world) @ body.poses])
            ahead, left = points[..., 0] - CAMERA_X_M, points[..., 1]
            is_visible = (ahead > 0) & (np.abs(left) < ahead * np.tan(np.radians(32)))
            found.append(np.where(is_visible, np.hypot(ahead, left), np.inf).min(1))
    return found


@pytest.mark.parametrize("scenario", CLOSE_SCENARIOS)
def test_a_vehicle_is_close_in_most_clips(scenario: str) -> None:
    nearest = [
        min(float(d.min()) for d in visible_distances(build_driving_world("day", scenario, seed, TIMES)))
        for seed in SEEDS
    ]
    assert np.mean(np.array(nearest) < 7) > 0.7, nearest


def test_a_vehicle_that_overtakes_enters_the_image_during_the_clip() -> None:
    enters = [
        any(np.isinf(d[0]) and np.isfinite(d).any() for d in visible_distances(world))
        for world in (build_driving_world("day", "overtaken", seed, TIMES) for seed in SEEDS)
    ]
    assert np.mean(enters) > 0.5


def test_the_share_is_that_of_the_setting_and_other_clips_do_not_change() -> None:
    def scenarios(share: float) -> list[str]:
        config = simulation_config(num_frames=5, close_share=share)
        return [simulate_world(config, "driving-day", index).metadata["scenario"] for index in range(24)]

    ordinary, mixed = scenarios(0.0), scenarios(0.5)
    is_close = [name in CLOSE_SCENARIOS for name in mixed]
    assert not set(ordinary) & set(CLOSE_SCENARIOS)
    assert 0.2 < np.mean(is_close) < 0.8
    assert all(ours == theirs for ours, theirs, close in zip(mixed, ordinary, is_close, strict=True) if not close)
