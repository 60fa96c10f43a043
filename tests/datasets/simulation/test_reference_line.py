"""Road coordinates and their inverse."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.simulation.pixel_shader import road_coordinates
from driveforge.datasets.simulation.reference_line import coordinate_grid, curvature_profile, integrate_curvature
from driveforge.datasets.simulation.tables import GroundTables


def test_a_constant_curvature_is_a_circle() -> None:
    along = np.arange(0, 60, 0.25)
    line = integrate_curvature(along, np.full(len(along), 1 / 30))
    radius = np.linalg.norm(line.points - [0, 30], axis=1)
    np.testing.assert_allclose(radius, 30, atol=0.01)
    np.testing.assert_allclose(line.heading[-1], along[-1] / 30)


def test_the_line_is_extended_straight() -> None:
    line = integrate_curvature(np.arange(0, 20, 0.25), np.zeros(80))
    position, heading = line.to_world(100.0, 2.0)
    np.testing.assert_allclose(position, [100, 2], atol=1e-9)
    assert heading == 0


@settings(max_examples=20, deadline=None)
@given(st.floats(-1 / 26, 1 / 26), st.floats(0, 80), st.floats(-12, 12))
def test_the_grid_inverts_road_coordinates(curvature: float, along: float, left: float) -> None:
    samples = np.arange(-20, 100, 0.25)
    line = integrate_curvature(samples, curvature_profile(samples, [(10, 50, curvature)], 8.0))
    grid, origin = coordinate_grid(line, 1.0)
    tables = GroundTables(
        grid, *origin, 1.0, np.zeros((1, 3)), np.zeros((0, 7)), np.zeros((0, 2)), np.zeros((0, 3)), 0.0, 0.0, 0
    )
    position, _ = line.to_world(along, left)
    found = np.empty(4)
    road_coordinates(tables, position[0], position[1], found)
    np.testing.assert_allclose(found[:2], [left, along], atol=0.06)
