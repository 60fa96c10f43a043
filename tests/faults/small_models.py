"""A base of a few thousand weights, and footage that it can take."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.video import encode_mp4
from finetune.vae import initialise_from_pca, to_signal
from finetune.world_model import WorldModel
from tests.finetune.small_run import TINY

# Clips of five frames; those of one video lie five frames apart.
FRAMING = ("data.height=32", "data.width=48", "data.num_frames=5", "data.stride=5")


def coarse_frames(seed: int, number: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (number, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)


def make_base(folder: Path) -> Path:
    torch.manual_seed(0)
    model = WorldModel.make(TINY)
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    initialise_from_pca(model.vae, to_signal(torch.from_numpy(coarse_frames(0)[None, :5])))
    model.save_pretrained(folder)
    return folder


def make_video(folder: Path, frames: NDArray[np.uint8]) -> Path:
    folder.mkdir()
    (folder / "video.mp4").write_bytes(encode_mp4(frames, 10.0))
    return folder
