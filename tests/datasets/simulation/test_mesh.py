"""Parts are closed and convex, with outward faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.geometry import Array
from driveforge.datasets.simulation.mesh import CUBOID_FACES, box, ellipsoid, gable_roof, prism, wheel
from driveforge.datasets.simulation.road_users import ROAD_USER_TYPES, build_parts

Faces = tuple[tuple[int, ...], ...]
lengths = st.floats(0.2, 12)


def _check_outward(vertices: Array, faces: Faces) -> None:
    middle = vertices.mean(0)
    for face in faces:
        a, b, c = (vertices[face[k]] for k in (0, 1, 2))
        assert np.cross(b - a, c - b) @ (a - middle) > 0, f"face {face} faces inward"


def _check_closed(faces: Faces) -> None:
    edges = [(face[k], face[(k + 1) % len(face)]) for face in faces for k in range(len(face))]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges), "every edge is shared with a face of opposite direction"


@given(lengths, lengths, lengths)
def test_boxes_gables_and_balls_are_closed_and_outward(length: float, width: float, height: float) -> None:
    shapes: list[tuple[Array, Faces]] = [
        (box((length, width, height), front=0.2 * length, rear=0.1 * length, side=0.1 * width), CUBOID_FACES),
        gable_roof(length, width, height),
        ellipsoid((length, width, height)),
        ellipsoid((length, width, height), 12, 8),
    ]
    for vertices, faces in shapes:
        _check_outward(vertices, faces)
        _check_closed(faces)


@given(lengths, lengths, lengths, st.integers(3, 12))
def test_prisms_and_wheels_are_closed_and_outward(bottom: float, top: float, height: float, sides: int) -> None:
    for vertices, faces in (prism(bottom, top, height, sides), wheel(bottom, height, sides)):
        _check_outward(vertices, faces)
        _check_closed(faces)


@pytest.mark.parametrize("kind", sorted(ROAD_USER_TYPES))
def test_road_users_are_on_the_ground_within_their_box(kind: str) -> None:
    category, size = ROAD_USER_TYPES[kind].category, ROAD_USER_TYPES[kind].size
    parts = build_parts(kind, size, (0.5, 0.5, 0.5), np.random.default_rng(0))
    points = np.concatenate([p.vertices @ p.to_body[:3, :3].T + p.to_body[:3, 3] for p in parts])
    low, high = points.min(0), points.max(0)
    assert low[2] == pytest.approx(0, abs=0.03)
    assert high[2] == pytest.approx(size[2], abs=0.06)
    assert (np.abs([low[0], high[0]]) <= size[0] / 2 + 0.02).all(), "length"
    assert (np.abs([low[1], high[1]]) <= size[1] / 2 + 0.02).all(), "width"
    assert high[1] - low[1] > 0.6 * size[1], "it fills its box"
    assert high[0] - low[0] > (0.9 if category.startswith("vehicle") else 0.3) * size[0], "people need room for steps"
