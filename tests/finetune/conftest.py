"""A world model of a few thousand weights, and clips of its size: these tests check the code, not the quality."""

import numpy as np
import pytest
import torch

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, pose, yaw_rotation
from driveforge.datasets.scene import Camera, Clip, Lane, Scene, Track
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca
from driveforge.finetune.world_model.wan_codec import to_vae_input

HEIGHT, WIDTH, FRAMES = 32, 48, 5
TINY = TinyConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)


@pytest.fixture
def scene() -> Scene:
    camera_to_ego = FORWARD_CAMERA_TO_EGO.copy()
    camera_to_ego[2, 3] = 1.5
    intrinsics = np.array([[40.0, 0, 23.5], [0, 40, 15.5], [0, 0, 1]])
    times = np.arange(FRAMES) * 0.1
    position = np.stack([8 * times, 0 * times, 0 * times], -1)
    ahead = np.array([10, 0, 0.8])
    box = pose(np.eye(3), position + ahead)
    return Scene(
        clip_id="tiny",
        domain="driving-day",
        caption="day, a car ahead",
        timestamps=times,
        cameras=(
            Camera(name="CAM_FRONT", width=WIDTH, height=HEIGHT, intrinsics=intrinsics, camera_to_ego=camera_to_ego),
        ),
        ego_to_world=pose(yaw_rotation(0.1 * times), position),
        tracks=(Track(id="a", category="vehicle.car", size=[4, 2, 1.5], box_to_world=box, present=[True] * FRAMES),),
        lanes=(Lane(kind="divider", points=np.array([[3.0, 2, 0], [40, 2, 0]])),),
    )


@pytest.fixture
def clip(scene: Scene) -> Clip:
    smooth = np.random.default_rng(0).integers(0, 255, (1, FRAMES, HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    return Clip(scene=scene, frames=smooth.repeat(8, 2).repeat(8, 3))


@pytest.fixture
def model(clip: Clip) -> TinyWorldModel:
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TINY)
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    initialize_from_pca(model.codec.vae, to_vae_input(torch.from_numpy(np.array(clip.frames))))
    return model.eval()
