"""Points in patterns that repeat are not tracked; points with a texture of their own are."""

import cv2
import numpy as np
import pytest

from driveforge.validation.point_tracking.ambiguity import is_distinct
from driveforge.validation.point_tracking.queries import background_queries

HEIGHT, WIDTH = 256, 448


def texture() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3.0)
    return (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def hatched(period: int) -> np.ndarray:
    """Slanted stripes, cut into pieces, so that they have corners."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    stripes = ((columns + rows // 2) % period < period // 2) & (rows % period < period // 2)
    return np.where(stripes, 220, 60).astype(np.uint8)


def grid() -> np.ndarray:
    y, x = np.mgrid[40 : HEIGHT - 40 : 9, 40 : WIDTH - 40 : 9]
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def test_a_random_texture_is_distinct() -> None:
    assert is_distinct(texture(), grid()).mean() > 0.75, "smooth texture resembles itself somewhere by chance"


@pytest.mark.parametrize("period", [12, 24, 40])
def test_a_pattern_that_repeats_within_the_search_range_is_not(period: int) -> None:
    assert is_distinct(hatched(period), grid()).mean() < 0.1


def test_points_at_the_edge_and_in_tiny_images_are_allowed() -> None:
    corners = np.array([[0, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]], np.float32)
    assert is_distinct(texture(), corners).shape == (3,)
    assert is_distinct(np.full((8, 8), 90, np.uint8), np.array([[4, 4]], np.float32)).all()
    assert is_distinct(texture(), np.zeros((0, 2), np.float32)).shape == (0,)


def test_queries_avoid_the_hatched_half_of_an_image() -> None:
    image = np.where(np.arange(WIDTH) < WIDTH // 2, hatched(16), texture()).astype(np.uint8)
    frames = np.repeat(image[None], 3, 0)
    (queries,) = background_queries(frames, np.zeros_like(frames))
    in_pattern = queries.points[:, 0] < WIDTH // 2 - 50
    assert len(queries.points) > 60 and in_pattern.sum() < 0.1 * len(queries.points)
