import numpy as np

from driveforge.datasets.select_frames import select_clip_frames, select_frames
from tests.datasets.small_clips import assert_same_scene, moving_mount, recorded_clip


def test_every_frame_is_selected_in_all_fields() -> None:
    clip = recorded_clip()
    scene = moving_mount(clip.scene)
    frames = np.array([1, 4, 5])
    selected = select_frames(scene, frames)
    assert selected.timestamps.tolist() == scene.timestamps[frames].tolist()
    camera, track = selected.cameras[0], selected.tracks[0]
    assert camera.image_times_us.tolist() == scene.cameras[0].image_times_us[frames].tolist()
    assert camera.image_tokens == ("image-1", "image-4", "image-5")
    np.testing.assert_array_equal(camera.camera_to_ego, scene.cameras[0].camera_to_ego[frames])
    assert track.lidar_points.tolist() == [-1, -1, 17]
    assert track.attributes == ("vehicle.parked", "", "vehicle.parked")
    np.testing.assert_array_equal(select_clip_frames(clip, frames).frames, clip.frames[:, frames])


def test_selecting_all_frames_changes_nothing() -> None:
    scene = recorded_clip().scene
    assert_same_scene(select_frames(scene, np.arange(scene.num_frames)), scene)
