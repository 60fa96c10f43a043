"""What moves by itself is told from its boxes where there are some, else from how it departs from the camera."""

import numpy as np

from driveforge.finetune.evaluation.moving_regions import average_over_cells, segment_moving_pixels
from tests.finetune.evaluation.sliding import START, sliding, without_tracks
from tests.validation.street import street


def board(t: int) -> np.ndarray:
    """Where the board of ``sliding()`` is drawn in frame ``t``."""
    inside = np.zeros((48, 80), bool)
    middle = 39.5 + (-1.2 + 0.24 * t) * 50 / 6
    inside[17:31, round(middle - 6.7) : round(middle + 6.7)] = True
    return inside


def test_boxes_that_move_are_moving_and_those_that_stand_are_not() -> None:
    moving = segment_moving_pixels(sliding())[START]
    assert (moving & board(START)).sum() > 0.95 * board(START).sum()
    assert (moving & ~board(START)).sum() < 0.25 * board(START).sum()
    assert not segment_moving_pixels(sliding(speed=0.0)).any()


def test_without_boxes_the_flow_tells() -> None:
    moving = segment_moving_pixels(without_tracks(sliding()))[START]
    assert (moving & board(START)).sum() > 0.5 * board(START).sum()
    assert (moving & board(START)).sum() > 0.5 * moving.sum()
    assert segment_moving_pixels(without_tracks(sliding(speed=0.0))).mean() < 0.01


def test_what_a_driving_camera_sees_go_by_does_not_move_by_itself() -> None:
    clip = without_tracks(street(draw_car=lambda t: False, num_frames=6))
    assert segment_moving_pixels(clip)[:, 8:-8, 8:-8].mean() < 0.08


def test_shares_are_of_whole_cells() -> None:
    mask = np.zeros((1, 8, 16), bool)
    mask[0, :4, :8] = True
    assert average_over_cells(mask, 8).tolist() == [[[0.5, 0.0]]]
