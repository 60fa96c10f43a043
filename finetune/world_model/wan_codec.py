"""The codec of the Wan and Cosmos-Predict2 families: diffusers' ``AutoencoderKLWan``."""

import hashlib
from pathlib import Path
from typing import Self

import torch
from diffusers import AutoencoderKLWan
from einops import rearrange
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.serialization import (
    PART_CONFIG_FILE,
    list_part_files,
    load_part,
    read_part_config,
    verify_checksums,
)

# AutoencoderKLWan encodes the first frame and then chunks of four frames, whatever its temporal stride is.
_CHUNK_FRAMES = 4


class WanCodec:
    """A ``Codec`` with a frozen ``AutoencoderKLWan``. Not thread-safe: the autoencoder keeps state during a call.

    Latents are the posterior's mode, normalized in the order of operations of ``WanImageToVideoPipeline``.
    """

    frame_step = _CHUNK_FRAMES

    def __init__(self, vae: AutoencoderKLWan) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.channels: int = vae.config.z_dim
        # From the layers, not from scale_factor_*, which old configurations lack.
        self.temporal_stride: int = 2 ** sum(map(bool, vae.config.temperal_downsample))
        self.spatial_stride: int = 2 ** (len(vae.config.dim_mult) - 1) * (vae.config.patch_size or 1)

    @classmethod
    def from_pretrained(cls, checkpoint: Path) -> Self:
        """The codec of a saved model, as float32. Raises UserError, with the file, if it is not valid."""
        return cls(load_vae(checkpoint))

    @classmethod
    def on_meta(cls, checkpoint: Path) -> Self:
        """The codec of a saved model on the meta device, of its configuration file only."""
        config = read_part_config(AutoencoderKLWan, checkpoint / "vae")
        with torch.device("meta"):
            vae = AutoencoderKLWan(**config)
        _require_valid_config(vae, checkpoint / "vae" / PART_CONFIG_FILE)
        return cls(vae)

    def to(self, device: torch.device | str) -> None:
        self.vae.to(device)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        return self.encode_signal(to_vae_input(frames))

    @torch.no_grad()
    def encode_signal(self, signal: Tensor) -> Tensor:
        """Normalized latents (N,Z,F,h,w) of a video (N,3,T,H,W) in [-1, 1]."""
        latents: Tensor = self.vae.encode(signal.to(self.vae.device)).latent_dist.mode()
        return self.normalize(latents)

    @torch.no_grad()
    def decode(self, latents: Tensor, *, tiled: bool = False) -> Tensor:
        self.vae.use_tiling = tiled
        return to_frames(self.vae.decode(self.denormalize(latents.to(self.vae.device))).sample)

    def normalize(self, latents: Tensor) -> Tensor:
        return (latents - self._statistic("latents_mean")) * (1.0 / self._statistic("latents_std"))

    def denormalize(self, latents: Tensor) -> Tensor:
        return latents / (1.0 / self._statistic("latents_std")) + self._statistic("latents_mean")

    def digest(self) -> str:
        sizes = {name: value for name, value in self.vae.config.items() if not name.startswith("_")}
        digest = hashlib.sha256(repr(sorted(sizes.items(), key=str)).encode())
        for name, tensor in sorted(self.vae.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:12]

    def _statistic(self, name: str) -> Tensor:
        return torch.tensor(self.vae.config[name], device=self.vae.device).view(1, -1, 1, 1, 1)


def load_vae(checkpoint: Path) -> AutoencoderKLWan:
    """The VAE of a saved model, as float32, frozen. Raises UserError, with the file, if it is not valid."""
    folder = checkpoint / "vae"
    if not folder.is_dir():
        raise UserError(f"{checkpoint} holds no VAE: {folder} is missing; give a model that driveforge saved")
    verify_checksums(checkpoint, list_part_files(checkpoint, "vae"))
    vae = load_part(AutoencoderKLWan, folder)
    _require_valid_config(vae, folder / PART_CONFIG_FILE)
    return vae.eval().requires_grad_(False)


def _require_valid_config(vae: AutoencoderKLWan, path: Path) -> None:
    config = vae.config
    for name in ("latents_mean", "latents_std"):
        values = getattr(config, name)
        if len(values) != config.z_dim or (name == "latents_std" and min(values) <= 0):
            raise UserError(f"{path}: {name} must be {config.z_dim} numbers, standard deviations above 0")
    if config.in_channels != 3 * (config.patch_size or 1) ** 2:
        raise UserError(f"{path}: in_channels must be 3 times patch_size squared, got {config.in_channels}")


def to_vae_input(frames: Tensor) -> Tensor:
    """uint8 ``(..., T, H, W, 3)`` as the input of the VAE, ``(..., 3, T, H, W)`` in [-1, 1]."""
    return rearrange(frames, "... t h w c -> ... c t h w").float() / 127.5 - 1


def to_frames(signal: Tensor) -> Tensor:
    """The output of the VAE, ``(..., 3, T, H, W)``, as uint8 ``(..., T, H, W, 3)``."""
    frames: Tensor = rearrange(((signal.clamp(-1, 1) + 1) * 127.5).round().byte(), "... c t h w -> ... t h w c")
    return frames
