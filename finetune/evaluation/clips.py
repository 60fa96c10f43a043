"""The held-out clips of an evaluation, encoded once: the inputs of every model and their ground truth."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.evaluation.moving_regions import segment_moving_pixels
from driveforge.finetune.world_model.clip_encoder import ClipEncoder, average_over_latent_cells
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.model import WorldModel


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationTensors(ClipTensors):
    """The tensors of a training clip, and the ground truth of an evaluation.

    ``moving`` (F,h,w) is the share of a cell that shows moving objects. ``frames`` (T,H,W,3) uint8 are the true frames
    after encoding and decoding by the codec, so that its compression does not count as an error of the model.
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
    """Clips of one size and length; ``codec_digest`` is the digest of the codec that encoded them."""

    clips: tuple[EvaluationClip, ...]
    codec_digest: str

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
        digest = hashlib.sha256(self.codec_digest.encode())
        for clip in self.clips:
            digest.update(f"{clip.domain}/{clip.clip_id}".encode() + clip.frames.tobytes())
        return digest.hexdigest()[:12]

    def __str__(self) -> str:
        frames, height, width = self.clips[0].frames.shape[:3]
        rate = self.clips[0].scene.frame_rate
        return (
            f"{len(self.clips)} clips {self.digest} of {len(self.domains)} domains, {frames} frames of {width} x "
            f"{height} px at {rate:g} Hz, codec {self.codec_digest}"
        )


def encode_evaluation_clip(encoder: ClipEncoder, clip: Clip) -> EvaluationTensors:
    """The tensors of an ``EvaluationClip``, in half precision, for a clip of one camera."""
    tensors = encoder.encode_clip(clip).map(Tensor.half)
    codec = encoder.codec
    moving = average_over_latent_cells(segment_moving_pixels(clip), codec.spatial_stride, codec.temporal_stride).half()
    # Decoded from the rounded latents, which are the input of every model.
    frames = codec.decode(tensors.latents.float()[None])[0].cpu()
    return EvaluationTensors(**tensors.to_mapping(), moving=moving, frames=frames)


def make_evaluation_set(encoder: ClipEncoder, clips: Iterable[Clip]) -> EvaluationSet:
    """An evaluation set in memory; only the reference camera of each clip is kept."""
    kept = [to_single_camera_clip(clip) for clip in clips]
    made = (EvaluationClip(scene=clip.scene, tensors=encode_evaluation_clip(encoder, clip)) for clip in kept)
    return EvaluationSet(clips=tuple(made), codec_digest=encoder.codec.digest())


def to_single_camera_clip(clip: Clip) -> Clip:
    """The clip with only its reference camera."""
    scene = to_single_camera_scene(clip.scene)
    return Clip(scene=scene, frames=clip.view(scene.cameras[0].name)[None])


def to_single_camera_scene(scene: Scene) -> Scene:
    """The scene with only its first calibrated camera, or its first camera if none is calibrated."""
    return replace(scene, cameras=(min(scene.cameras, key=lambda camera: not camera.is_calibrated),))


def make_batch(model: WorldModel, clips: Sequence[EvaluationClip]) -> tuple[Tensor, Conditions]:
    """Latents (B,Z,F,h,w) and all conditions of ``clips``, on the device of ``model``."""
    tensors = ClipTensors.stack([clip.tensors for clip in clips]).map(lambda tensor: tensor.float().to(model.device))
    domains, captions = [clip.domain for clip in clips], [clip.scene.caption for clip in clips]
    return tensors.latents, model.batch_conditions(tensors, domains, captions)
