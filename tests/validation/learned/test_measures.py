"""The artifact network rates melted vehicles and regions above good ones, and the same clip always the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.instruments import Instruments
from driveforge.validation.learned.files import ARTIFACT_WEIGHTS, RECIPE_FILE, WEIGHTS_FILE
from driveforge.validation.learned.measures import OBJECT, REGION, artifact_measures
from driveforge.validation.learned.network import load_artifact_network
from driveforge.validation.measure_tables.appearance import LEARNED_OFF
from driveforge.validation.point_tracking.tracks import track_view
from driveforge.validation.records import NO_BOXES, Measure
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.street import street


def rate(clip: Clip, instruments: Instruments = Instruments()) -> dict[str, Measure]:  # noqa: B008
    view = reference_view(clip)
    boxes = project_boxes(view)
    tracked = TrackedView(view=view, boxes=boxes, tracks=track_view(view, boxes), instruments=instruments)
    return {measure.name: measure for measure in artifact_measures(tracked)}


def value_of(clip: Clip, name: str) -> float:
    value = rate(clip)[name].value
    assert value is not None
    return value


def spoil_later(clip: Clip, change: Callable[[np.ndarray], np.ndarray], only_car: bool) -> Clip:
    """The clip with ``change`` applied to its later frames, on the car only or everywhere."""
    boxes = project_boxes(reference_view(clip))
    frames = np.array(clip.frames)
    for t in range(8, frames.shape[1]):
        mask = np.full(frames.shape[2:4], 255, np.uint8)
        if only_car:
            assert boxes is not None
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
    found = rate(spoil_later(clip, change, only_car=True))[OBJECT]
    assert found.value is not None and found.value > value_of(clip, OBJECT) + 1
    assert found.track == "car" and found.frames[0] >= 8


@pytest.mark.parametrize("change", [as_slab, as_blocks])
def test_regions_that_lose_their_structure_are_found(clip: Clip, change: Callable[[np.ndarray], np.ndarray]) -> None:
    assert value_of(spoil_later(clip, change, only_car=False), REGION) > value_of(clip, REGION) + 1


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


def test_a_clip_without_boxes_has_only_the_measure_of_regions(clip: Clip) -> None:
    found = rate(Clip(scene=replace(clip.scene, tracks=()), frames=clip.frames))
    assert found[OBJECT].reason == NO_BOXES and not found[OBJECT].is_applicable
    assert found[REGION].value is not None


def test_images_of_any_size_are_measured() -> None:
    for height, width in ((48, 40), (200, 64)):
        assert rate(street(height=height, width=width, num_frames=6))[REGION].value is not None


def test_learned_measures_can_be_turned_off(clip: Clip) -> None:
    found = rate(clip, Instruments(artifact_weights=None))
    assert {measure.reason for measure in found.values()} == {LEARNED_OFF}
    assert not any(measure.is_applicable for measure in found.values())


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
