"""The held-out clips of an evaluation, encoded once: the inputs of every model and their ground truth."""

import hashlib
from collections.abc import Iterable, Sequence
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
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.conditions import Conditions, encode_clip, stack_conditions
from driveforge.finetune.world_model.vae import decode


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationTensors(ClipTensors):
    """The tensors of a training clip, and the ground truth of an evaluation.

    ``moving`` (F,h,w) is the share of a cell that shows moving objects. ``frames`` (T,H,W,3) uint8 are the true frames
    after encoding and decoding by the VAE, so that its compression does not count as an error of the model.
    """

    moving: Tensor
    frames: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationClip:
    """One camera of a held-out clip."""

    scene: Scene
    tensors: EvaluationTensors

    @property
    def clip_id(self) -> str:
        return self.scene.clip_id

    @property
    def domain(self) -> str:
        return self.scene.domain

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        return np.asarray(self.tensors.frames.numpy())

    @property
    def true_clip(self) -> Clip:
        return Clip(scene=self.scene, frames=self.frames[None])

    def with_frames(self, frames: NDArray[np.uint8]) -> Clip:
        """The clip with other frames (T,H,W,3)."""
        return Clip(scene=self.scene, frames=frames[None])


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationSet:
    """Clips of one size and length; ``vae_digest`` is the digest of the VAE that encoded them."""

    clips: tuple[EvaluationClip, ...]
    vae_digest: str

    def __post_init__(self) -> None:
        if not self.clips:
            raise UserError("an evaluation needs at least one clip")
        keys = [(clip.domain, clip.clip_id) for clip in self.clips]
        if len(set(keys)) < len(keys):
            raise UserError("a clip is in the evaluation set twice; clip ids must differ")
        if padded := [clip.clip_id for clip in self.clips if clip.scene.held_frames]:
            raise UserError(f"{padded[0]} is padded with held frames: an evaluation takes whole clips, choose another")
        shapes = {tuple(clip.frames.shape) for clip in self.clips}
        if len(shapes) > 1:
            raise UserError(f"the clips of an evaluation must have one length and size, got {sorted(shapes)}")

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
            f"{height} px at {rate:g} Hz, VAE {self.vae_digest}"
        )


def encode_evaluation_clip(vae: AutoencoderKLWan, clip: Clip) -> EvaluationTensors:
    """The tensors of an ``EvaluationClip``, in half precision, for a clip of one camera."""
    tensors = encode_clip(vae, clip).map(Tensor.half)
    moving = torch.from_numpy(average_over_cells(segment_moving_pixels(clip), vae.config.patch_size)).half()
    # Decoded from the rounded latents, which are the input of every model.
    frames = decode(vae, tensors.latents.float()[None])[0]
    return EvaluationTensors(**tensors.to_mapping(), moving=moving, frames=frames)


def make_evaluation_set(vae: AutoencoderKLWan, clips: Iterable[Clip]) -> EvaluationSet:
    """An evaluation set in memory; only the reference camera of each clip is kept."""
    kept = [to_single_camera_clip(clip) for clip in clips]
    made = (EvaluationClip(scene=clip.scene, tensors=encode_evaluation_clip(vae, clip)) for clip in kept)
    return EvaluationSet(clips=tuple(made), vae_digest=compute_vae_digest(vae))


def to_single_camera_clip(clip: Clip) -> Clip:
    """The clip with only its reference camera."""
    scene = to_single_camera_scene(clip.scene)
    return Clip(scene=scene, frames=clip.view(scene.cameras[0].name)[None])


def to_single_camera_scene(scene: Scene) -> Scene:
    """The scene with only its first calibrated camera, or its first camera if none is calibrated."""
    return replace(scene, cameras=(min(scene.cameras, key=lambda camera: not camera.is_calibrated),))


def compute_vae_digest(vae: AutoencoderKLWan) -> str:
    """12 hex digits of the weights and the configuration of a VAE."""
    sizes = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    digest = hashlib.sha256(repr(sorted(sizes.items(), key=str)).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def make_batch(
    clips: Sequence[EvaluationClip], known_domains: tuple[str, ...], device: torch.device
) -> tuple[Tensor, Conditions]:
    """Latents (B,Z,F,h,w) and all conditions of ``clips``."""
    tensors = ClipTensors.stack([clip.tensors for clip in clips]).map(lambda tensor: tensor.float().to(device))
    domains, captions = [clip.domain for clip in clips], [clip.scene.caption for clip in clips]
    return tensors.latents, stack_conditions(tensors, domains, captions, known_domains)
