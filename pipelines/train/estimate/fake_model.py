"""A world model of fake tensors: shapes on the CPU without memory, with few blocks, as kernels of a device see it."""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from driveforge.datasets.domains import DRIVING_DAY
from driveforge.datasets.scene import Camera, Scene
from driveforge.finetune.world_model.clip_tensors import ClipTensors, ConditionMask
from driveforge.finetune.world_model.model import WorldModel
from driveforge.pipelines.inputs.settings import DataSettings
from driveforge.replay.dataset import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSize:
    """The size of a clip of ``num_views`` cameras: ``num_frames`` frames of ``height`` x ``width`` px at Hz."""

    num_frames: int
    height: int
    width: int
    num_views: int
    frame_rate: float

    @classmethod
    def of(cls, data: DataSettings) -> Self:
        """The size of the clips of ``data``."""
        return cls(
            num_frames=data.num_frames,
            height=data.height,
            width=data.width,
            num_views=len(getattr(data, "cameras", ("CAM_FRONT",))),
            frame_rate=data.frame_rate,
        )


def use_cuda_norms(module: nn.Module) -> None:
    """Let the norms of ``module`` compute as on CUDA: by a fused kernel, in single precision under autocast.

    Attention needs no such change. That of CUDA (flash, or memory-efficient in single precision) and that of the CPU
    keep the same tensors: their inputs, their output and one number per row, and none a matrix of tokens x tokens.
    """
    for part in module.modules():
        if isinstance(part, nn.RMSNorm):
            part.forward = partial(_fused_rms_norm, part)  # type: ignore[method-assign]


def _fused_rms_norm(norm: nn.RMSNorm, value: Tensor) -> Tensor:
    weight: Tensor | None = norm.weight
    if torch.is_autocast_enabled("cpu"):
        value, weight = value.float(), None if weight is None else weight.float()
    normalized: Tensor = torch.ops.aten._fused_rms_norm(value, norm.normalized_shape, weight, norm.eps)[0]
    return normalized


def num_blocks(model: WorldModel) -> int:
    """The number of blocks of a transformer; experts have equally many."""
    return max(map(len, model.block_lists()))


def keep_blocks(model: WorldModel, count: int) -> None:
    """Keep the first ``count`` blocks of every transformer; all blocks of a transformer are equal."""
    for blocks in model.block_lists():
        del blocks[count:]


def materialize(module: nn.Module) -> None:
    """Move the weights of ``module`` from the meta device to the CPU; under a fake mode they are fake."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                part._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def blank_scene(size: ClipSize) -> Scene:
    """A scene of clips of ``size``, without poses."""
    return Scene(
        clip_id="blank",
        domain=DRIVING_DAY,
        timestamps=np.arange(size.num_frames) / size.frame_rate,
        cameras=tuple(Camera(name=f"C{n}", width=size.width, height=size.height) for n in range(size.num_views)),
    )


def blank_clip(model: WorldModel, size: ClipSize) -> ClipTensors:
    """The cached tensors of one clip, in half precision as caches store them: all zero, with a given first frame."""
    conditions = model.encoder.encode_conditions(blank_scene(size), None)
    ConditionMask.from_channels(conditions.mask).context[:, 0] = 1
    latents = torch.zeros_like(conditions.warped)
    clip = ClipTensors(**conditions.to_mapping(), latents=latents, cell_weight=torch.ones_like(latents[0]))
    return clip.map(torch.Tensor.half)


def blank_batch(clip: ClipTensors, slots: Tensor) -> Batch:
    """A batch of copies of ``clip`` in the ``slots`` (B,), which are real: the noise depends on their values."""
    size = len(slots)
    return Batch(
        step=0,
        slot=slots,
        is_replay=torch.zeros(size, dtype=torch.bool),
        loss_weight=torch.ones(size),
        tensors={name: torch.stack([t] * size) for name, t in clip.to_mapping().items()},
        clip_id=["blank"] * size,
        domain=[DRIVING_DAY] * size,
        caption=["blank"] * size,
    )
