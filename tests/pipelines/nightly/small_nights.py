"""A folder of nights of seconds: a tiny base, driving data on disk, and the settings of ``driveforge nightly``.

Every stage is real. Clips are simulated drives of 9 frames; the model has a few thousand weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca
from driveforge.finetune.world_model.wan_codec import to_vae_input
from tests.defaults import simulation_config

TINY = TinyConfig(latent_channels=12, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
HEIGHT, WIDTH, FRAMES = 96, 160, 9
FRAMING = [f"data.height={HEIGHT}", f"data.width={WIDTH}", f"data.num_frames={FRAMES}", f"data.stride={FRAMES}"]


def simulated(domain: str, count: int, seed: int) -> list[Clip]:
    config = simulation_config(
        seed=seed, domains=(domain,), num_scenes=count, height=HEIGHT, width=WIDTH, num_frames=FRAMES
    )
    source = SimulatedSource(config)
    return [source.load(scene) for scene in source.scenes()]


def write_clips(root: Path, clips: Iterable[Clip], prefix: str, split: str) -> None:
    for number, clip in enumerate(clips):
        write_clip_folder(root, clip.with_scene(clip_id=f"{prefix}-{number}", source=f"{prefix}-{number}", split=split))


def make_base(folder: Path, clips: Sequence[Clip]) -> Path:
    """An untrained model whose VAE reconstructs ``clips``."""
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TINY)
    frames = torch.from_numpy(np.stack([clip.frames[0] for clip in clips]))
    initialize_from_pca(model.codec.vae, to_vae_input(frames))
    model.save_pretrained(folder)
    return folder
