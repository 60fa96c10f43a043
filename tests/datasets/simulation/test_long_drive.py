"""Long drives for several cameras."""

import numpy as np

from driveforge.datasets.geometry import yaw_from_pose
from driveforge.datasets.simulation.long_drive import simulate_drive
from driveforge.datasets.simulation.rigs import CAMERA_MOUNTS


def test_a_drive_is_long_and_winding_and_has_six_cameras() -> None:
    recording = simulate_drive("day", 0, seed=5, duration=8.0, height=45, width=80)
    scene = recording.scene
    assert scene.num_frames == 161 and abs(scene.frame_rate - 20) < 1e-6
    assert [camera.name for camera in scene.cameras] == list(CAMERA_MOUNTS)
    poses = np.asarray(scene.ego_to_world)
    assert np.linalg.norm(poses[-1, :2, 3] - poses[0, :2, 3]) > 15
    assert np.ptp(np.unwrap(yaw_from_pose(poses))) > np.radians(4)
    images = [recording.image(name, 80) for name in CAMERA_MOUNTS]
    assert all(image.shape == (45, 80, 3) and image.std() > 8 for image in images)


def test_a_drive_repeats_and_differs_by_index() -> None:
    poses = [simulate_drive("dusk", i, seed=5, duration=2.0, height=9, width=16).scene.ego_to_world for i in (0, 0, 1)]
    np.testing.assert_array_equal(poses[0], poses[1])
    assert not np.allclose(poses[0], poses[2])  # type: ignore[arg-type]
