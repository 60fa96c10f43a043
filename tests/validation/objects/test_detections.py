"""Commanded vehicles without a detection, and detections without a commanded box, with detectors that know both."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.instruments import Detections, Detector, Instruments
from driveforge.validation.measure_tables.objects import NO_DETECTOR
from driveforge.validation.measures import measure
from driveforge.validation.objects.detections import RUN, detection_measures
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.records import NO_BOXES, NO_POSE, SMALL_BOXES, Measure, Measures
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view

UNDETECTED, UNCOMMANDED = "object_undetected", "object_uncommanded"
SCORE = 0.9
NOTHING = np.zeros((0, 4))


def detector_of(clip: Clip, boxes_by_frame: list[Array], score: float = SCORE) -> Detector:
    """Finds the given boxes in the frames of ``clip``, which it recognizes by their bytes."""
    boxes = {frame.tobytes(): found for frame, found in zip(clip.frames[0], boxes_by_frame, strict=True)}

    def detect(image: NDArray[np.uint8]) -> Detections:
        found = boxes[image.tobytes()]
        return Detections(boxes=found, scores=np.full(len(found), score))

    return detect


def measures_of(clip: Clip, boxes_by_frame: list[Array], score: float = SCORE) -> dict[str, Measure]:
    view = reference_view(clip)
    tracked = TrackedView(
        view=view,
        boxes=project_boxes(view),
        tracks=Tracks(background=(), objects=()),
        instruments=Instruments(detector=detector_of(clip, boxes_by_frame, score)),
    )
    return {m.name: m for m in detection_measures(tracked)}


def car_boxes(clip: Clip) -> list[Array]:
    """The box of the car in every frame."""
    boxes = project_boxes(reference_view(clip))
    assert boxes is not None
    return list(boxes.rectangle)


def test_without_a_detector_the_measures_do_not_apply(good: Measures) -> None:
    for name in (UNDETECTED, UNCOMMANDED):
        assert good[name].reason == NO_DETECTOR and not good[name].is_applicable


def test_a_detected_car_is_explained_by_its_box(clip: Clip) -> None:
    found = measures_of(clip, car_boxes(clip))
    assert found[UNDETECTED].value == pytest.approx(1 - SCORE)
    assert found[UNCOMMANDED].value == 0.0


def test_a_car_that_is_not_detected_is_named_with_its_frames(clip: Clip) -> None:
    boxes = car_boxes(clip)
    boxes[8:13] = [NOTHING] * 5
    found = measures_of(clip, boxes)[UNDETECTED]
    assert found.value == pytest.approx(1.0) and found.track == "car"
    assert found.frames[0] >= 8 and found.frames[1] == found.frames[0] + RUN - 1 <= 12


def test_a_single_miss_counts_as_one_frame_of_several(clip: Clip) -> None:
    boxes = car_boxes(clip)
    boxes[8] = NOTHING
    assert measures_of(clip, boxes)[UNDETECTED].value == pytest.approx((1 + (RUN - 1) * (1 - SCORE)) / RUN)


def test_a_car_without_a_box_is_found_with_its_frames(clip: Clip) -> None:
    car = clip.scene.tracks[0]
    present = np.arange(clip.scene.num_frames) < 9
    uncommanded = clip.with_scene(tracks=(replace(car, present=present),))
    found = measures_of(uncommanded, car_boxes(clip))[UNCOMMANDED]
    assert found.value == pytest.approx(SCORE)
    assert found.frames[0] >= 9 and found.frames[1] == found.frames[0] + RUN - 1
    unboxed = measures_of(clip.with_scene(tracks=()), car_boxes(clip))
    assert unboxed[UNCOMMANDED].value == pytest.approx(SCORE)
    assert unboxed[UNDETECTED].reason == NO_BOXES


def test_an_object_must_persist(clip: Clip) -> None:
    uncommanded = clip.with_scene(tracks=())
    boxes = [NOTHING] * clip.scene.num_frames
    boxes[5] = car_boxes(clip)[5]
    assert measures_of(uncommanded, boxes)[UNCOMMANDED].value == pytest.approx(SCORE / RUN)
    places = [np.array([[x, 30.0, x + 30, 60.0]]) for x in 40.0 * (np.arange(clip.scene.num_frames) % RUN)]
    assert measures_of(uncommanded, places)[UNCOMMANDED].value == pytest.approx(SCORE / RUN)


def test_small_and_covered_detections_are_not_uncommanded(clip: Clip) -> None:
    shift = np.array([4.0, 4.0, -4.0, -4.0])
    inside = [box + shift for box in car_boxes(clip)]
    assert measures_of(clip, inside)[UNCOMMANDED].value == 0.0
    small = [np.array([[5.0, 60.0, 12.0, 66.0]])] * clip.scene.num_frames
    assert measures_of(clip.with_scene(tracks=()), small)[UNCOMMANDED].value == 0.0


def test_people_and_small_boxes_need_no_detection(clip: Clip) -> None:
    nothing = [NOTHING] * clip.scene.num_frames
    person = replace(clip.scene.tracks[0], category="human.pedestrian.adult")
    assert measures_of(clip.with_scene(tracks=(person,)), nothing)[UNDETECTED].reason == NO_BOXES
    toy = replace(clip.scene.tracks[0], size=np.array([0.4, 0.2, 0.2]))
    assert measures_of(clip.with_scene(tracks=(toy,)), nothing)[UNDETECTED].reason == SMALL_BOXES


def test_a_clip_without_a_pose_has_no_boxes_to_compare_with(clip: Clip) -> None:
    poseless = clip.with_scene(ego_to_world=None)
    measures = measure(poseless, Instruments(detector=detector_of(clip, car_boxes(clip))))
    assert [measures[name].reason for name in (UNDETECTED, UNCOMMANDED)] == [NO_POSE] * 2
