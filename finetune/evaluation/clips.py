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
from driveforge.finetune.evaluation.moving_regions import average_over_cells, segment_moving_pixels
from driveforge.finetune.world_model.conditions import Conditions, encode_clip, stack_conditions
from driveforge.finetune.world_model.vae import decode


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationClip:
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
    def true_clip(self) -> Clip:
        return Clip(scene=self.scene, frames=self.frames[None])

    def with_frames(self, frames: NDArray[np.uint8]) -> Clip:
        """The clip with other frames (T,H,W,3)."""
        return Clip(scene=self.scene, frames=frames[None])


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationSet:
    """Clips of one size and length; ``vae_digest`` is the digest of the codec that encoded them."""

    clips: tuple[EvaluationClip, ...]
    vae_digest: str

    def __post_init__(self) -> None:
        if not self.clips:
            raise UserError("a probe needs at least one clip")
        keys = [(clip.domain, clip.clip_id) for clip in self.clips]
        if len(set(keys)) < len(keys):
            raise UserError("a clip is in the probe set twice; clip ids must differ")
        if padded := [clip.clip_id for clip in self.clips if clip.scene.held_frames]:
            raise UserError(f"{padded[0]} ends before its last frame: a probe takes whole clips alone, choose another")
        shapes = {tuple(clip.frames.shape) for clip in self.clips}
        if len(shapes) > 1:
            raise UserError(f"the clips of a probe must have one length and size, got {sorted(shapes)}")

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(clip.domain for clip in self.clips))

    def clips_in(self, domain: str) -> list[EvaluationClip]:
        return [clip for clip in self.clips if clip.domain == domain]

    @cached_property
    def digest(self) -> str:
        """12 hex digits of the clips' ids, domains and pixels."""
        digest = hashlib.sha256(self.vae_digest.encode())
        for clip in self.clips:
            digest.update(f"{clip.domain}/{clip.clip_id}".encode() + clip.frames.tobytes())
        return digest.hexdigest()[:12]

    def __str__(self) -> str:
        frames, height, width = self.clips[0].frames.shape[:3]
        rate = self.clips[0].scene.frame_rate
        return (
            f"{len(self.clips)} clips {self.digest} of {len(self.domains)} domains, {frames} frames of {width} x "
            f"{height} px at {rate:g} Hz, codec {self.vae_digest}"
        )


def encode_evaluation_clip(vae: AutoencoderKLWan, clip: Clip) -> dict[str, Tensor]:
    """The tensors of an ``EvaluationClip``, of a clip of one camera."""
    tensors = encode_clip(vae, clip)
    tensors["moving"] = torch.from_numpy(average_over_cells(segment_moving_pixels(clip), vae.config.patch_size))
    tensors = {name: tensor.half() for name, tensor in tensors.items()}
    tensors["frames"] = decode(vae, tensors["latents"].float()[None])[0]
    return tensors


def make_evaluation_set(vae: AutoencoderKLWan, clips: Iterable[Clip]) -> EvaluationSet:
    """A probe set in memory; of clips with several cameras the reference camera is kept."""
    kept = [to_single_camera_clip(clip) for clip in clips]
    made = (EvaluationClip(scene=clip.scene, tensors=encode_evaluation_clip(vae, clip)) for clip in kept)
    return EvaluationSet(clips=tuple(made), vae_digest=compute_vae_digest(vae))


def to_single_camera_clip(clip: Clip) -> Clip:
    """The clip as its reference camera saw it."""
    scene = to_single_camera_scene(clip.scene)
    return Clip(scene=scene, frames=clip.view(scene.cameras[0].name)[None])


def to_single_camera_scene(scene: Scene) -> Scene:
    """The scene with its first calibrated camera alone, or its first one where none is."""
    return replace(scene, cameras=(min(scene.cameras, key=lambda camera: not camera.is_calibrated),))


def compute_vae_digest(vae: AutoencoderKLWan) -> str:
    """12 hex digits of a codec's weights and sizes."""
    sizes = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    digest = hashlib.sha256(repr(sorted(sizes.items(), key=str)).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def make_batch(
    clips: Sequence[EvaluationClip], known_domains: tuple[str, ...], device: torch.device
) -> tuple[Tensor, Conditions]:
    """Latents (B,Z,F,h,w) and the full command of ``clips``."""
    names = ("latents", "warped", "layout", "mask", "rays")
    tensors = {name: torch.stack([clip.tensors[name] for clip in clips]).float().to(device) for name in names}
    labels = [clip.domain for clip in clips], [clip.scene.caption for clip in clips]
    return tensors["latents"], stack_conditions(tensors, *labels, known_domains)
