"""A model with a few thousand weights, and matching footage."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from driveforge.datasets.folder_source import VideoFolderSource
from driveforge.datasets.latents.cache import LatentSample
from driveforge.datasets.video import encode_mp4
from driveforge.finetune.world_model.families.registry import load_clip_encoder
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca
from driveforge.finetune.world_model.wan_codec import to_vae_input
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.replay.clips import persistent_key
from driveforge.replay.persistent import update_transaction
from driveforge.replay.settings import BufferSettings
from tests.finetune.small_run import TINY

FRAMING = ("data.height=32", "data.width=48", "data.num_frames=5", "data.stride=5")


def coarse_frames(seed: int, number: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (number, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)


def make_base(folder: Path) -> Path:
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TINY)
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    initialize_from_pca(model.codec.vae, to_vae_input(torch.from_numpy(coarse_frames(0)[None, :5])))
    model.save_pretrained(folder)
    return folder


def make_video(folder: Path, frames: NDArray[np.uint8]) -> Path:
    folder.mkdir()
    (folder / "video.mp4").write_bytes(encode_mp4(frames, 10.0))
    return folder


def make_buffer(folder: Path, base: Path, footage: Path) -> Path:
    """A persistent replay buffer with the clips of ``footage``."""
    framing = compose(list(FRAMING)).data.framing
    source, encoder = VideoFolderSource(footage, framing), load_clip_encoder(base)
    with update_transaction(folder, BufferSettings(capacity=8, key=persistent_key(framing, base))) as buffer:
        for scene in source.scenes():
            tensors = encoder.encode_clip(source.load(scene)).map(torch.Tensor.half).to_mapping()
            sample = LatentSample(clip_id=scene.clip_id, domain=scene.domain, caption=scene.caption, tensors=tensors)
            buffer.add(sample)
    return folder
