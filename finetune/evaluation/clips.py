"""The held-out clips of a probe, encoded once: what every model is given, and what it is held against."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.evaluation.regions import moving_pixels, share_of_cells
from driveforge.finetune.world_model.conditions import Conditions, encode_clip, stack_conditions
from driveforge.finetune.world_model.vae import decode


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeClip:
    """One camera of a held-out clip.

    ``tensors`` are those of ``encode_clip``, ``moving`` (F,h,w), the share of a cell that moves by itself, and
    ``frames`` (T,H,W,3) uint8, the true frames as the codec passes them: what it loses is no fault of the model.
    """

    scene: Scene
    tensors: Mapping[str, Tensor]

    @property
    def clip_id(self) -> str:
        return self.scene.clip_id

    @property
    def domain(self) -> str:
        return self.scene.domain

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        return np.asarray(self.tensors["frames"].numpy())

    @property
    def true(self) -> Clip:
        return Clip(scene=self.scene, frames=self.frames[None])

    def showing(self, frames: NDArray[np.uint8]) -> Clip:
        """The clip with other frames (T,H,W,3)."""
        return Clip(scene=self.scene, frames=frames[None])


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeSet:
    """Clips of one size and length; ``codec`` is the digest of the codec that encoded them."""

    clips: tuple[ProbeClip, ...]
    codec: str

    def __post_init__(self) -> None:
        if not self.clips:
            raise UserError("a probe needs at least one clip")
        keys = [(clip.domain, clip.clip_id) for clip in self.clips]
        if len(set(keys)) < len(keys):
            raise UserError("a clip is in the probe set twice; clip ids must differ")
        if held := [clip.clip_id for clip in self.clips if clip.scene.held_frames]:
            raise UserError(f"{held[0]} ends before its last frame: a probe takes whole clips alone, choose another")
        shapes = {tuple(clip.frames.shape) for clip in self.clips}
        if len(shapes) > 1:
            raise UserError(f"the clips of a probe must have one length and size, got {sorted(shapes)}")

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(clip.domain for clip in self.clips))

    def of(self, domain: str) -> list[ProbeClip]:
        return [clip for clip in self.clips if clip.domain == domain]

    @cached_property
    def digest(self) -> str:
        """12 hex digits of the clips' ids, domains and pixels."""
        digest = hashlib.sha256(self.codec.encode())
        for clip in self.clips:
            digest.update(f"{clip.domain}/{clip.clip_id}".encode() + clip.frames.tobytes())
        return digest.hexdigest()[:12]

    def __str__(self) -> str:
        frames, height, width = self.clips[0].frames.shape[:3]
        rate = self.clips[0].scene.frame_rate
        return (
            f"{len(self.clips)} clips {self.digest} of {len(self.domains)} domains, {frames} frames of {width} x "
            f"{height} px at {rate:g} Hz, codec {self.codec}"
        )


def encode_probe_clip(vae: AutoencoderKLWan, clip: Clip) -> dict[str, Tensor]:
    """The tensors of a ``ProbeClip``, of a clip of one camera."""
    tensors = encode_clip(vae, clip)
    tensors["moving"] = torch.from_numpy(share_of_cells(moving_pixels(clip), vae.config.patch_size))
    tensors = {name: tensor.half() for name, tensor in tensors.items()}
    tensors["frames"] = decode(vae, tensors["latents"].float()[None])[0]
    return tensors


def make_probe_set(vae: AutoencoderKLWan, clips: Iterable[Clip]) -> ProbeSet:
    """A probe set in memory; of clips with several cameras the reference camera is kept."""
    kept = [one_camera(clip) for clip in clips]
    made = (ProbeClip(scene=clip.scene, tensors=encode_probe_clip(vae, clip)) for clip in kept)
    return ProbeSet(clips=tuple(made), codec=codec_digest(vae))


def one_camera(clip: Clip) -> Clip:
    """The clip as its reference camera saw it."""
    scene = of_one_camera(clip.scene)
    return Clip(scene=scene, frames=clip.view(scene.cameras[0].name)[None])


def of_one_camera(scene: Scene) -> Scene:
    """The scene with its first calibrated camera alone, or its first one where none is."""
    return replace(scene, cameras=(min(scene.cameras, key=lambda camera: not camera.is_calibrated),))


def codec_digest(vae: AutoencoderKLWan) -> str:
    """12 hex digits of a codec's weights and sizes."""
    sizes = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    digest = hashlib.sha256(repr(sorted(sizes.items(), key=str)).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def batch_of(
    clips: Sequence[ProbeClip], known_domains: tuple[str, ...], device: torch.device
) -> tuple[Tensor, Conditions]:
    """Latents (B,Z,F,h,w) and the full command of ``clips``."""
    names = ("latents", "warped", "layout", "mask", "rays")
    tensors = {name: torch.stack([clip.tensors[name] for clip in clips]).float().to(device) for name in names}
    words = [clip.domain for clip in clips], [clip.scene.caption for clip in clips]
    return tensors["latents"], stack_conditions(tensors, *words, known_domains)
