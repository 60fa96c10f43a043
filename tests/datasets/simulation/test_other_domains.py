"""Non-driving worlds: bodies follow gravity, cameras their paths, and boxes match the rendered pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.domains import OTHER_DOMAINS
from driveforge.datasets.geometry import inverse, pixel_rays, transform, yaw_from_pose
from driveforge.datasets.simulated_source import simulate_world, simulated_scene
from driveforge.datasets.simulation.falling import simulate_bounce
from driveforge.datasets.simulation.renderer import Renderer
from tests.defaults import simulation_config

CONFIG = simulation_config(num_scenes=20, num_frames=9, domains=OTHER_DOMAINS)


@settings(max_examples=15, deadline=None)
@given(height=st.floats(0.3, 4), lift=st.floats(-1, 3), restitution=st.floats(0.2, 0.9))
def test_bodies_fall_with_gravity_and_lose_height_at_each_bounce(
    height: float, lift: float, restitution: float
) -> None:
    times = np.arange(0, 3, 0.01)
    poses = simulate_bounce(
        times,
        np.zeros(2),
        0.0,
        (0.5, 0.5, 0.5),
        height=height,
        velocity=np.array([0.5, 0]),
        lift=lift,
        spin=1.0,
        restitution=restitution,
        is_rolling=False,
    )
    z = poses[:, 2, 3] - 0.25
    assert z.min() > -0.02, "bodies do not enter the floor"
    free = z > 0.05
    gravity = np.diff(z, 2)[free[:-2] & free[1:-1] & free[2:]] / 0.01**2
    assert np.median(gravity) == pytest.approx(-9.81, abs=0.3)
    top = height + max(lift, 0) ** 2 / (2 * 9.81)
    landed = int(np.argmax(z < 0.03))
    assert z[landed:].max() < restitution**2 * (top + 0.3) + 0.05


def test_bodies_come_to_rest() -> None:
    poses = simulate_bounce(
        np.arange(0, 6, 0.1),
        np.zeros(2),
        0.3,
        (0.4, 0.4, 0.4),
        height=1.0,
        velocity=np.array([0.5, 0.2]),
        lift=0.0,
        spin=2.0,
        restitution=0.5,
        is_rolling=True,
    )
    np.testing.assert_array_equal(poses[-1], poses[-5])


def test_the_orbit_keeps_the_origin_in_view() -> None:
    for index in range(4):
        scene = simulated_scene(CONFIG, "orbit", index)
        middle = transform(inverse(scene.ego_to_world), np.array([[0.0, 0.0, 0.5]]))[:, 0]  # type: ignore[arg-type]
        assert (np.abs(np.arctan2(middle[:, 1], middle[:, 0])) < 0.02).all()
        assert np.ptp(np.unwrap(yaw_from_pose(scene.ego_to_world))) > np.radians(8) * 0.7  # type: ignore[arg-type]


@pytest.mark.parametrize("domain", sorted(OTHER_DOMAINS))
def test_boxes_match_rendered_pixels(domain: str) -> None:
    """Boxes contain visible surfaces above the floor; a misplaced box would contain none."""
    hits = 0
    for index in range(3):
        scene = simulated_scene(CONFIG, domain, index)
        camera, renderer = scene.cameras[0], Renderer(simulate_world(CONFIG, domain, index))
        for t in (0, 8):
            rays = pixel_rays(np.asarray(camera.intrinsics), camera.height, camera.width)
            camera_to_world = scene.camera_to_world(camera)[t]
            depth = np.minimum(renderer.depth(t, camera), 1e4)
            points = camera_to_world[:3, 3] + depth[..., None] * (rays @ camera_to_world[:3, :3].T)
            raised = points[..., 2] > 0.05
            for track in scene.tracks:
                local = np.abs(transform(inverse(track.box_to_world[t]), points))
                hits += int(((local < track.size / 2 + 0.02).all(-1) & raised).sum())
    assert hits > 300


@pytest.mark.parametrize("domain", sorted(OTHER_DOMAINS))
def test_captions_and_categories(domain: str) -> None:
    scene = simulated_scene(CONFIG, domain, 0)
    assert scene.caption and scene.lanes == ()
    assert {track.category.split(".")[0] for track in scene.tracks} <= {"object", "vehicle"}
