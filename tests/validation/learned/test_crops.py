"""Crops show the same part of an object in every view, wherever the object is in the image."""

from dataclasses import replace

import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.validation.learned.crops import object_crops
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import View, reference_view
from tests.validation.street import street


def view_and_boxes(clip: Clip) -> tuple[View, Boxes]:
    view = reference_view(clip)
    boxes = project_boxes(view)
    assert boxes is not None
    return view, boxes


def paint_position_in_box(clip: Clip) -> Clip:
    """Red and green are the position in the rectangle of the car's box, 0 to 250."""
    _, boxes = view_and_boxes(clip)
    frames = np.array(clip.frames)
    x, y = np.meshgrid(np.arange(frames.shape[3]), np.arange(frames.shape[2]))
    for t in range(frames.shape[1]):
        x0, y0, x1, y1 = boxes.rectangle[t, 0]
        frames[0, t, ..., 0] = (250 * (x - x0) / (x1 - x0)).clip(0, 250)
        frames[0, t, ..., 1] = (250 * (y - y0) / (y1 - y0)).clip(0, 250)
    return Clip(scene=clip.scene, frames=frames)


def test_all_views_of_an_object_show_the_same_part_of_its_box() -> None:
    view, boxes = view_and_boxes(paint_position_in_box(street(parked=True, speed=5.0)))
    crops = object_crops(view, boxes, [0])
    assert crops
    for crop in crops:
        now, before, early = (crop.image[low : low + 2].astype(int) for low in (0, 3, 6))
        assert np.abs(now - before).mean() < 12 and np.abs(now - early).mean() < 20


def test_objects_are_rated_in_the_later_half_of_their_time_in_view() -> None:
    view, boxes = view_and_boxes(street())
    crops = object_crops(view, boxes, [0])
    assert [crop.frame for crop in crops] == [8, 12, 16]
    assert {crop.track for crop in crops} == {0} and {float(crop.context[0]) for crop in crops} == {1.0}


def test_an_object_behind_a_nearer_one_has_no_crops() -> None:
    clip = street()
    (car,) = clip.scene.tracks
    nearer = np.array(car.box_to_world)
    nearer[:, :3, 3] = 0.5 * (nearer[:, :3, 3] + clip.scene.camera_to_world(clip.scene.cameras[0])[:, :3, 3])
    scene = replace(clip.scene, tracks=(car, replace(car, id="nearer", box_to_world=nearer)))
    view, boxes = view_and_boxes(Clip(scene=scene, frames=clip.frames))
    assert {crop.track for crop in object_crops(view, boxes, [0, 1])} == {1}
