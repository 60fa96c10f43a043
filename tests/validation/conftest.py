"""Clips of a textured street, and real footage if there is any."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, inverse
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.validation.measures import Measures, measure
from tests.validation.street import street

REAL_DATA = Path(os.environ.get("DRIVEFORGE_REAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@pytest.fixture(scope="session")
def clip() -> Clip:
    """A good clip of 96 x 160 px and 17 frames: driving straight, with a car in the next lane."""
    return street()


@pytest.fixture(scope="session")
def good(clip: Clip) -> Measures:
    return measure(clip)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[torch.nn.Module], Path]:
    """Saves a network as TorchScript in a file with its name."""

    def save(module: torch.nn.Module) -> Path:
        path = tmp_path / f"{type(module).__name__}.pt"
        torch.jit.script(module).save(str(path))
        return path

    return save


@pytest.fixture(scope="session")
def kitti() -> Clip:
    """24 frames of a real straight road, 256 x 448 px, with the recorded pose."""
    folder = REAL_DATA / "noncommercial" / "kitti_straight"
    if not folder.exists():
        pytest.skip("real footage is absent: set DRIVEFORGE_REAL_DATA")
    truth = json.loads((folder / "meta.json").read_text())["ground_truth"]
    frames = _frames(folder / "clip_256x448.mp4", 24)
    camera_to_world = _orthonormal(np.array(truth["poses"]["cam_to_world"])[:24])
    camera = Camera(
        name="CAM_FRONT",
        width=448,
        height=256,
        intrinsics=np.array(truth["intrinsics"]["256x448"]),
        camera_to_ego=FORWARD_CAMERA_TO_EGO,
    )
    scene = Scene(
        clip_id="kitti-straight",
        domain="driving-day",
        timestamps=np.arange(24) / 10,
        cameras=(camera,),
        ego_to_world=camera_to_world @ inverse(FORWARD_CAMERA_TO_EGO),
    )
    return Clip(scene=scene, frames=frames[None])


def _frames(video: Path, count: int) -> np.ndarray:
    capture = cv2.VideoCapture(str(video))
    return np.stack([cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(count)])


def _orthonormal(poses: np.ndarray) -> np.ndarray:
    """The poses, which have few digits, with the nearest rotations."""
    left, _, right = np.linalg.svd(poses[:, :3, :3])
    poses = poses.copy()
    poses[:, :3, :3] = left @ right
    return poses
