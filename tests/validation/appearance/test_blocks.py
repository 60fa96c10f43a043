"""A blocky vehicle is detected anywhere in the image; blur is not blockiness."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.validation.appearance.blocks import GRID_PX
from driveforge.validation.measures import measure
from driveforge.validation.records import NO_BOXES, SMALL_BOXES
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.street import street


@pytest.fixture(scope="module")
def clip() -> Clip:
    return street()


def blockiness_of(clip: Clip) -> float:
    found = measure(clip)["object_blockiness"]
    assert found.value is not None, found.reason
    return found.value


def in_blocks(clip: Clip, first: int, size: int = GRID_PX) -> Clip:
    """Every cell of ``size`` px is half replaced by its mean, from frame ``first`` on."""
    frames = np.array(clip.frames)
    for t in range(first, frames.shape[1]):
        height, width = frames.shape[2:4]
        padded = np.pad(frames[0, t], ((0, -height % size), (0, -width % size), (0, 0)), mode="edge")
        small = cv2.resize(padded, None, fx=1 / size, fy=1 / size, interpolation=cv2.INTER_AREA)
        cells = cv2.resize(small, padded.shape[1::-1], interpolation=cv2.INTER_NEAREST)[:height, :width]
        frames[0, t] = (0.5 * frames[0, t] + 0.5 * cells).astype(np.uint8)
    return Clip(scene=clip.scene, frames=frames)


def test_a_blocky_vehicle_is_reported_with_its_frames(clip: Clip) -> None:
    corrupted = in_blocks(clip, first=8)
    found = measure(corrupted)["object_blockiness"]
    assert blockiness_of(clip) < 1.15
    assert found.value is not None and found.value > 1.4
    assert found.track == "car" and found.frames == (8, 16)


def test_blocks_of_twice_the_size_are_detected(clip: Clip) -> None:
    assert blockiness_of(in_blocks(clip, first=8, size=2 * GRID_PX)) > 1.2, "blocks of twice the size fit the grid"


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_blur_is_not_blockiness(clip: Clip, sigma: float) -> None:
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip.frames[0]])[None]
    assert blockiness_of(Clip(scene=clip.scene, frames=blurred)) < 1.25


def test_a_vehicle_cut_by_the_image_edge_is_measured(clip: Clip) -> None:
    """The image without its left part, which contains most of the car."""
    boxes = project_boxes(reference_view(clip))
    assert boxes is not None
    cut = int(boxes.rectangle[:, 0, [0, 2]].mean() // GRID_PX) * GRID_PX
    camera = clip.scene.cameras[0]
    moved = np.array(camera.intrinsics) - [[0, 0, cut], [0, 0, 0], [0, 0, 0]]
    scene = replace(clip.scene, cameras=(replace(camera, width=camera.width - cut, intrinsics=moved),))
    narrow = Clip(scene=scene, frames=clip.frames[:, :, :, cut:])
    left = project_boxes(reference_view(narrow))
    assert left is not None and left.in_view.max() < 0.75
    assert blockiness_of(in_blocks(narrow, first=8)) > 1.3 > blockiness_of(narrow)


@pytest.mark.parametrize("size", [6, 7, 10])
@pytest.mark.parametrize("offset", [0, 3])
def test_blocks_on_any_grid_are_detected(size: int, offset: int) -> None:
    large = street(height=192, width=320)
    shifted = Clip(scene=large.scene, frames=np.roll(large.frames, offset, (2, 3)))
    blocky = in_blocks(shifted, first=8, size=size).frames
    spoiled = measure(Clip(scene=large.scene, frames=np.roll(blocky, -offset, (2, 3))))["object_grid"]
    good = measure(large)["object_grid"]
    assert good.value is not None and spoiled.value is not None
    assert spoiled.value > good.value + 0.2 and spoiled.track == "car"


def test_without_vehicles_in_view_there_is_nothing_to_measure(clip: Clip) -> None:
    assert measure(clip.with_scene(tracks=()))["object_blockiness"].reason == NO_BOXES
    far = street(num_frames=17, height=32, width=48)
    assert measure(far)["object_blockiness"].reason in (SMALL_BOXES, "")
