"""Faces of boxes are rectified exactly, as far as they are in the image and not hidden."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.geometry import pose
from driveforge.datasets.scene import Clip
from driveforge.validation.faces.comparison import compare_faces
from driveforge.validation.faces.rectify import TOWARD_CAMERA, Face, FaceKey, rectify_faces
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.street import street

REAR = 1


def faces_of(clip: Clip) -> dict[FaceKey, list[Face]]:
    view = reference_view(clip)
    boxes = project_boxes(view)
    assert boxes is not None and view.command is not None
    return rectify_faces(view, view.command, boxes)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return street(height=192, width=320, num_frames=9)


def test_a_face_looks_alike_in_every_frame(clip: Clip) -> None:
    rear = faces_of(clip)[0, REAR]
    assert [face.frame for face in rear] == list(range(9))
    for face in rear[1:]:
        found = compare_faces(rear[0], face)
        assert found is not None and found.difference < 0.25 and abs(found.detail_loss) < 0.1


def test_another_texture_differs(clip: Clip) -> None:
    other = street(height=192, width=320, num_frames=9, seed=1)
    found = compare_faces(faces_of(clip)[0, REAR][0], faces_of(other)[0, REAR][5])
    assert found is not None and found.difference > 0.6


def cut_through_car(clip: Clip, share: float) -> Clip:
    """The image without its left part, up to a ``share`` of the car's width in the middle of the time."""
    boxes = project_boxes(reference_view(clip))
    assert boxes is not None
    x0, _, x1, _ = boxes.rectangle[clip.scene.num_frames // 2, 0]
    left = int(x0 + share * (x1 - x0))
    camera = clip.scene.cameras[0]
    assert camera.intrinsics is not None
    shifted = camera.intrinsics - np.array([[0, 0, left], [0, 0, 0], [0, 0, 0]])
    narrow = replace(camera, width=camera.width - left, intrinsics=shifted)
    scene = replace(clip.scene, cameras=(narrow,))
    return Clip(scene=scene, frames=np.ascontiguousarray(clip.frames[:, :, :, left:]))


def test_the_image_edge_masks_texels_and_moves_none(clip: Clip) -> None:
    whole = faces_of(clip)[0, REAR][4]
    part = next(face for face in faces_of(cut_through_car(clip, 0.4))[0, REAR] if face.frame == 4)
    assert 0.3 < part.visible.mean() < 0.75 < whole.visible.mean()
    assert np.abs(whole.texture - part.texture)[part.visible].mean() < 3.0, "only the cells of the pyramid differ"


def test_a_nearer_box_hides_texels(clip: Clip) -> None:
    car = clip.scene.tracks[0]
    # Half of the way from the camera to the car.
    ego = clip.scene.ego_to_world
    assert ego is not None
    middle = (ego[:, :3, 3] + car.box_to_world[:, :3, 3]) / 2
    nearer = replace(
        car, id="nearer", size=np.array([0.3, 0.5, 0.6]), box_to_world=pose(car.box_to_world[:, :3, :3], middle)
    )
    hidden = faces_of(clip.with_scene(tracks=(car, nearer)))[0, REAR][4]
    assert hidden.visible.mean() < faces_of(clip)[0, REAR][4].visible.mean() - 0.05


def test_people_have_one_plane_toward_the_camera(clip: Clip) -> None:
    person = replace(clip.scene.tracks[0], category="human.pedestrian.adult")
    found = faces_of(clip.with_scene(tracks=(person,)))
    assert set(found) == {(0, TOWARD_CAMERA)}
