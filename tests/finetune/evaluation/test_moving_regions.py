"""Moving regions are segmented from boxes, or from the difference between flow and camera motion."""

import numpy as np

from driveforge.finetune.evaluation.moving_regions import segment_moving_pixels
from driveforge.finetune.world_model.clip_encoder import average_over_latent_cells
from tests.finetune.evaluation.sliding_board import START, make_sliding_clip, without_tracks
from tests.validation.street import street


def board_mask(t: int) -> np.ndarray:
    """Where the board of ``make_sliding_clip()`` is drawn in frame ``t``."""
    inside = np.zeros((48, 80), bool)
    middle = 39.5 + (-1.2 + 0.24 * t) * 50 / 6
    inside[17:31, round(middle - 6.7) : round(middle + 6.7)] = True
    return inside


def test_moving_boxes_are_moving_and_static_boxes_are_not() -> None:
    moving = segment_moving_pixels(make_sliding_clip())[START]
    assert (moving & board_mask(START)).sum() > 0.95 * board_mask(START).sum()
    assert (moving & ~board_mask(START)).sum() < 0.25 * board_mask(START).sum()
    assert not segment_moving_pixels(make_sliding_clip(speed=0.0)).any()


def test_without_boxes_flow_is_used() -> None:
    moving = segment_moving_pixels(without_tracks(make_sliding_clip()))[START]
    assert (moving & board_mask(START)).sum() > 0.5 * board_mask(START).sum()
    assert (moving & board_mask(START)).sum() > 0.5 * moving.sum()
    assert segment_moving_pixels(without_tracks(make_sliding_clip(speed=0.0))).mean() < 0.01


def test_the_static_scene_of_a_driving_camera_is_not_moving() -> None:
    clip = without_tracks(street(draw_car=lambda t: False, num_frames=6))
    assert segment_moving_pixels(clip)[:, 8:-8, 8:-8].mean() < 0.08


def test_a_mask_is_averaged_over_cells() -> None:
    mask = np.zeros((1, 8, 16), bool)
    mask[0, :4, :8] = True
    assert average_over_latent_cells(mask, 8, 1).tolist() == [[[0.5, 0.0]]]
