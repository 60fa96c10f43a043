"""Wan 2.2: the 5B model, whose tokens have their own timesteps, and the A14B models with two experts.

Of two experts, the first takes noise levels from ``boundary_ratio`` up and the second the lower ones; each is trained
on its own range. Their image-to-video variants take context frames as Wan 2.1's do, without CLIP features.
"""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.finetune.world_model.clip_encoder import Anchor, ClipEncoder
from driveforge.finetune.world_model.clip_tensors import ConditionTensors
from driveforge.finetune.world_model.codec import count_frames, count_latent_frames
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.wan import WanWorldModel
from driveforge.finetune.world_model.pipeline_folder import GraftedConfig, read_index
from driveforge.finetune.world_model.wan_codec import WanCodec

# Frames of the clips that the 5B model generates.
_FRAMES_5B = 121
# Of the free memory of a GPU that weights may take; activations and the codec need the rest.
_MEMORY_SHARE = 0.75


class ContextClipEncoder(ClipEncoder):
    """Encodes the context frames alone, as the 5B pipeline does.

    Encoding is causal, so the latents are those of the whole clip but for the last bits.
    """

    def encode_conditions(
        self,
        scene: Scene,
        first_frames: NDArray[np.uint8] | None,
        num_context_frames: int = 1,
        anchor: Anchor | None = None,
    ) -> ConditionTensors:
        tensors = super().encode_conditions(scene, first_frames, num_context_frames, anchor)
        if first_frames is None:
            return tensors
        stride = self.codec.temporal_stride
        num_latent = count_latent_frames(num_context_frames, stride)
        frames = torch.from_numpy(np.array(first_frames[:, : count_frames(num_latent, stride)]))
        warped = rearrange(tensors.warped, "z (v f) h w -> v z f h w", v=len(scene.cameras)).clone()
        warped[:, :, :num_latent] = self.codec.encode(frames).cpu()
        return replace(tensors, warped=rearrange(warped, "v z f h w -> z (v f) h w"))


class Wan22WorldModel(WanWorldModel):
    """A ``WanPipeline`` or ``WanImageToVideoPipeline`` of Wan 2.2, with grafts for each expert."""

    family = "wan22"
    part_names = ("transformer", "transformer_2")
    # Of experts that take turns on it; None: both stay where they are.
    _expert_device: str | None = None

    @cached_property
    def boundary(self) -> float | None:
        """The lowest noise level of the first expert; None if there is one transformer for all levels."""
        ratio = read_index(self.directory).get("boundary_ratio")
        return None if ratio is None else float(ratio)

    @classmethod
    def find_parts(cls, directory: Path) -> list[str]:
        index, names = read_index(directory), super().find_parts(directory)
        if index.get("boundary_ratio") is not None and names != list(cls.part_names):
            raise UserError(f"{directory}: has boundary_ratio, so it must hold transformer/ and transformer_2/")
        return names if index.get("boundary_ratio") is not None else names[:1]

    @classmethod
    def make_encoder(cls, directory: Path, codec: WanCodec) -> ClipEncoder:
        encoder = super().make_encoder(directory, codec)
        is_5b = read_index(directory).get("expand_timesteps")
        return ContextClipEncoder(codec) if is_5b else encoder

    @classmethod
    def find_trained_frames(cls, directory: Path, config: GraftedConfig) -> int:
        is_5b = read_index(directory).get("expand_timesteps")
        return config.num_frames or (_FRAMES_5B if is_5b else cls.released_frames)

    def place(self, device: str) -> None:
        """Two experts that do not fit on the GPU together take turns: the idle one waits on the CPU."""
        free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else None
        if self.boundary is None or free is None or self._count_bytes() < _MEMORY_SHARE * free:
            super().place(device)
        else:
            self.offload_idle_expert(device)
            self.encoder.to(device)

    def offload_idle_expert(self, device: str) -> None:
        """Keep both experts on the CPU, and move one to ``device`` when its noise levels are sampled."""
        self._expert_device = device
        self.grafts.to(device)

    def _count_bytes(self) -> int:
        return sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())

    def _run(self, name: str, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        if self._expert_device is not None:
            for other, transformer in self.transformers.items():
                transformer.to(self._expert_device if other == name else "cpu")
        return super()._run(name, noisy, sigma, conditions)

    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        boundary = self.boundary
        if boundary is None:
            return self._run("transformer", noisy, sigma, conditions)
        is_high = (sigma * 1000).round() >= boundary * 1000
        velocity = torch.zeros_like(noisy)
        for name, rows in (("transformer", is_high.nonzero()[:, 0]), ("transformer_2", (~is_high).nonzero()[:, 0])):
            if len(rows):
                velocity[rows] = self._run(name, noisy[rows], sigma[rows], conditions.select(rows))
            elif torch.distributed.is_initialized():
                # Every rank runs the blocks of both experts, because ranks exchange their weights or gradients.
                first = torch.zeros(1, dtype=torch.long, device=noisy.device)
                idle = self._run(name, noisy[:1], sigma[:1], conditions.select(first))
                velocity = velocity + 0 * idle.sum()
        return velocity

    def _has_token_timesteps(self, conditions: Conditions) -> bool:
        return self.boundary is None or super()._has_token_timesteps(conditions)
