"""The artifact network rates melted vehicles and regions above good ones, and the same clip always the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.validation.artifact_weights import ARTIFACT_WEIGHTS, RECIPE_FILE, WEIGHTS_FILE
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.instruments import Instruments
from driveforge.validation.learned.measures import artifact_measure
from driveforge.validation.learned.network import load_artifact_network
from driveforge.validation.measure_tables.learned import LEARNED_OFF
from driveforge.validation.point_tracking.tracks import track_view
from driveforge.validation.records import NO_BOXES, SMALL_BOXES, Measure
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.street import street


def rate(clip: Clip, weights: Path | None = ARTIFACT_WEIGHTS) -> Measure:
    view = reference_view(clip)
    boxes = project_boxes(view)
    instruments = Instruments(artifact_weights=weights)
    tracked = TrackedView(view=view, boxes=boxes, tracks=track_view(view, boxes), instruments=instruments)
    return artifact_measure(tracked)


def value_of(clip: Clip) -> float:
    value = rate(clip).value
    assert value is not None
    return value


def spoil_car(clip: Clip, change: Callable[[np.ndarray], np.ndarray]) -> Clip:
    """The clip with ``change`` applied to the car in its later frames."""
    boxes = project_boxes(reference_view(clip))
    assert boxes is not None
    frames = np.array(clip.frames)
    for t in range(8, frames.shape[1]):
        mask = boxes.mask(t, (frames.shape[2], frames.shape[3]))
        frames[0, t] = np.where(mask[..., None] > 0, change(frames[0, t]), frames[0, t])
    return Clip(scene=clip.scene, frames=frames)


def as_slab(frame: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 8))


def as_blocks(frame: np.ndarray) -> np.ndarray:
    small = cv2.resize(frame, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize("change", [as_slab, as_blocks])
def test_a_vehicle_that_loses_its_shape_is_found_with_its_frames(
    clip: Clip, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    found = rate(spoil_car(clip, change))
    assert found.value is not None and found.value > value_of(clip) + 1
    assert found.track == "car" and found.frames[0] >= 8


def test_the_same_clip_has_the_same_values(clip: Clip) -> None:
    assert rate(clip) == rate(clip)


def test_values_do_not_depend_on_the_number_of_threads(clip: Clip) -> None:
    import torch

    before, threads = rate(clip), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert rate(clip) == before
        assert torch.get_num_threads() == 2, "the setting of the process is restored"
    finally:
        torch.set_num_threads(threads)


def test_a_clip_without_vehicles_is_not_rated(clip: Clip) -> None:
    (car,) = clip.scene.tracks
    for tracks in ((), (replace(car, category="human.pedestrian.adult"),)):
        found = rate(Clip(scene=replace(clip.scene, tracks=tracks), frames=clip.frames))
        assert found.reason == NO_BOXES and not found.is_applicable


def test_a_vehicle_in_view_too_briefly_is_not_rated() -> None:
    found = rate(street(num_frames=3))
    assert found.reason == SMALL_BOXES and not found.is_applicable


def test_the_learned_measure_is_off_by_default(clip: Clip) -> None:
    assert Instruments().artifact_weights is None
    found = rate(clip, weights=None)
    assert found.reason == LEARNED_OFF and not found.is_applicable


def test_the_packaged_weights_are_small() -> None:
    assert (ARTIFACT_WEIGHTS / WEIGHTS_FILE).stat().st_size < 400_000


def test_missing_or_changed_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^[^\n]*missing or damaged; [^\n]*validate.learned=false$"):
        load_artifact_network(tmp_path)
    content = bytearray((ARTIFACT_WEIGHTS / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    (tmp_path / RECIPE_FILE).write_bytes((ARTIFACT_WEIGHTS / RECIPE_FILE).read_bytes())
    with pytest.raises(UserError, match=r"artifacts.safetensors: differs from the sha256"):
        load_artifact_network(tmp_path)
