"""A pose network from a file: its inputs, the use of its output, and its errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.scene import Clip
from driveforge.validation.camera.pose_network import load_pose_network
from driveforge.validation.instruments import Instruments, PoseNetwork
from driveforge.validation.measure_tables.pose import NO_POSE_NETWORK
from driveforge.validation.measures import measure
from driveforge.validation.records import NO_POSE, STATIONARY_EGO, Measures
from driveforge.validation.verdict import judge
from driveforge.validation.views.view import reference_view
from tests.validation.limits import limits_at
from tests.validation.networks import Shapeless
from tests.validation.street import commanded_yaw, street

NAMES = ("pose_network_rotation", "pose_network_translation")


class Recites(torch.nn.Module):
    """Returns the poses that it was constructed with, for any frames."""

    def __init__(self, poses: Array) -> None:
        super().__init__()
        self.poses = torch.nn.Parameter(torch.from_numpy(poses).float())

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        assert frames.dim() == 4 and frames.shape[1] == 3 and float(frames.max()) <= 1.0
        return self.poses


def of_network(clip: Clip, network: PoseNetwork) -> list[float | None]:
    measures = measure(clip, Instruments(pose_network=network))
    return [measures[name].value for name in NAMES]


def in_another_world(clip: Clip, scale: float = 0.3) -> Array:
    """The commanded camera poses in another world frame and at another scale."""
    command = reference_view(clip).command
    assert command is not None
    poses = pose(yaw_rotation(1.1), [3.0, -2.0, 0.5]) @ command.camera_to_world
    poses[:, :3, 3] *= scale
    return poses


def test_without_a_network_nothing_is_measured_and_the_clip_is_accepted(good: Measures) -> None:
    assert [good[name].reason for name in NAMES] == [NO_POSE_NETWORK] * 2
    limits = limits_at("one good clip", {m.name: 2 * m.value + 0.05 for m in good.values if m.value is not None})
    assert judge(good, limits).state == "accepted"


def test_a_network_may_use_any_world_frame_and_scale(clip: Clip, saved: Callable[[torch.nn.Module], Path]) -> None:
    network = load_pose_network(saved(Recites(in_another_world(clip))))
    assert of_network(clip, network) == pytest.approx([0.0, 0.0], abs=0.05)


def test_a_rotation_error_is_in_degrees(clip: Clip, saved: Callable[[torch.nn.Module], Path]) -> None:
    network = load_pose_network(saved(Recites(in_another_world(clip))))
    rotation, translation = of_network(commanded_yaw(clip, 5.0), network)
    assert rotation == pytest.approx(5.0 * 4 / 10, abs=0.05)
    assert translation is not None and 0.2 < translation < 2.0


def test_backward_motion_is_180_degrees_off(clip: Clip) -> None:
    poses = in_another_world(clip, scale=-1.0)
    assert of_network(clip, lambda frames: poses) == pytest.approx([0.0, 180.0], abs=0.05)


def test_no_predicted_motion_is_90_degrees_off(clip: Clip) -> None:
    poses = np.tile(np.eye(4), (clip.scene.num_frames, 1, 1))
    assert of_network(clip, lambda frames: poses)[1] == pytest.approx(90.0)


def test_directions_of_a_stationary_ego_do_not_apply() -> None:
    stationary_pairs = street(speed=0.0, num_frames=9)
    still = np.tile(np.eye(4), (9, 1, 1))
    measures = measure(stationary_pairs, Instruments(pose_network=lambda frames: still))
    assert measures[NAMES[0]].value == pytest.approx(0.0, abs=1e-3)
    assert measures[NAMES[1]].reason == STATIONARY_EGO
    poseless = measure(stationary_pairs.with_scene(ego_to_world=None), Instruments(pose_network=lambda frames: still))
    assert [poseless[name].reason for name in NAMES] == [NO_POSE] * 2


def test_files_without_a_pose_network_are_refused(
    clip: Clip, saved: Callable[[torch.nn.Module], Path], tmp_path: Path
) -> None:
    frames = reference_view(clip).frames
    with pytest.raises(UserError, match=r"absent\.pt: no TorchScript file at this path"):
        load_pose_network(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(UserError, match="not a TorchScript file"):
        load_pose_network(tmp_path / "text.pt")
    with pytest.raises(UserError, match=r"must return camera-to-world poses of shape \(17, 4, 4\), got \(\)"):
        load_pose_network(saved(Shapeless()))(frames)
    with pytest.raises(UserError, match="rotations must be orthonormal"):
        load_pose_network(saved(Recites(np.ones((17, 4, 4)))))(frames)
