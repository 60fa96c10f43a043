"""Validation of the record types."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO
from driveforge.datasets.scene import Camera, Clip, Lane, Scene, Track

K = np.array([[100.0, 0, 31.5], [0, 100, 15.5], [0, 0, 1]])


def make_scene(num_frames: int = 5, **changes: object) -> Scene:
    camera = Camera(name="CAM_FRONT", width=64, height=32, intrinsics=K, camera_to_ego=FORWARD_CAMERA_TO_EGO)
    fields: dict[str, object] = {
        "clip_id": "a-1",
        "domain": "driving-day",
        "timestamps": np.arange(num_frames) * 0.1,
        "cameras": (camera,),
        "ego_to_world": np.tile(np.eye(4), (num_frames, 1, 1)),
    }
    return Scene(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_scene_has_a_frame_rate_and_camera_poses() -> None:
    scene = make_scene()
    assert scene.frame_rate == pytest.approx(10.0)
    assert scene.camera_to_world(scene.camera("CAM_FRONT")).shape == (5, 4, 4)


def test_arrays_are_read_only() -> None:
    scene = make_scene()
    with pytest.raises(ValueError, match="read-only"):
        scene.timestamps[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_id": "Bad Name"}, "clip id"),
        ({"timestamps": np.array([0, 0.1, 0.1, 0.2, 0.3])}, "strictly increase"),
        ({"timestamps": np.array([0, 0.1, np.nan, 0.2, 0.3])}, "NaN"),
        ({"ego_to_world": np.tile(np.eye(4), (4, 1, 1))}, r"shape \(5, 4, 4\), got \(4, 4, 4\)"),
        ({"ego_to_world": np.tile(np.diag([1.0, 1, -1, 1]), (5, 1, 1))}, "rigid"),
        ({"ego_to_world": np.tile(np.diag([2.0, 1, 1, 1]), (5, 1, 1))}, "rigid"),
        ({"cameras": ()}, "camera"),
        ({"held_frames": 5}, "held_frames"),
    ],
)
def test_invalid_scenes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_scene(**changes)


def test_a_track_must_be_as_long_as_its_scene_and_have_a_size() -> None:
    track = Track(
        id="t", category="vehicle.car", size=[4, 2, 1.5], box_to_world=np.tile(np.eye(4), (4, 1, 1)), present=[True] * 4
    )
    with pytest.raises(UserError, match="track t has 4 frames, the scene has 5"):
        make_scene(tracks=(track,))
    with pytest.raises(UserError, match="positive"):
        replace(track, size=[4, 0, 1.5])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_times_us": [1.5, 2.5]}, "image_times_us must hold only integers"),
        ({"image_times_us": [5, 4, 6, 7, 8]}, "image_times_us must be positive and not decrease"),
        ({"image_times_us": [1, 2, 3]}, "image_times_us has 3 frames, the scene has 5"),
        ({"image_tokens": [1, 2, 3, 4, 5]}, "image_tokens must be a list of strings"),
        ({"image_tokens": ["a"]}, "image_tokens has 1 frames, the scene has 5"),
    ],
)
def test_invalid_image_times_and_tokens_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_scene(cameras=(Camera(name="CAM_FRONT", width=64, height=32, **values),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lidar_points": [1, 2]}, r"lidar_points must have shape \(4\)"),
        ({"lidar_points": [1, 2, 3, -2]}, "lidar_points must be counts"),
        ({"attributes": ["a"]}, "attributes must be 4 strings, got 1"),
    ],
)
def test_invalid_annotations_of_a_track_are_refused(values: dict[str, object], message: str) -> None:
    poses = np.tile(np.eye(4), (4, 1, 1))
    with pytest.raises(UserError, match=message):
        Track(id="t", category="animal", size=[1, 1, 1], box_to_world=poses, present=[True] * 4, **values)  # type: ignore[arg-type]


def test_invalid_cameras_and_lanes_are_refused() -> None:
    with pytest.raises(UserError, match="focal"):
        Camera(name="c", width=4, height=4, intrinsics=np.diag([-1.0, 1, 1]))
    with pytest.raises(UserError, match="curb"):
        Lane(kind="curb", points=np.zeros((2, 3)))


def test_extrinsics_can_change_per_frame() -> None:
    offsets = np.tile(FORWARD_CAMERA_TO_EGO, (5, 1, 1))
    offsets[:, 0, 3] = np.arange(5)
    camera = replace(make_scene().cameras[0], camera_to_ego=offsets)
    scene = make_scene(cameras=(camera,))
    np.testing.assert_allclose(scene.camera_to_world(camera)[:, 0, 3], np.arange(5))
    with pytest.raises(UserError, match="4 frames, the scene has 5"):
        make_scene(cameras=(replace(camera, camera_to_ego=offsets[:4]),))


def test_frames_must_match_the_scene() -> None:
    frames = np.zeros((1, 5, 32, 64, 3), np.uint8)
    clip = Clip(scene=make_scene(), frames=frames)
    assert clip.view("CAM_FRONT").shape == (5, 32, 64, 3)
    assert not clip.frames.flags.writeable
    with pytest.raises(UserError, match="frames must be uint8"):
        Clip(scene=make_scene(), frames=frames[:, :4])
    with pytest.raises(UserError, match="no camera 'CAM_BACK'"):
        clip.view("CAM_BACK")
