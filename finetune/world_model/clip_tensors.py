"""The tensors of an encoded clip, or of a batch of them, under the names by which caches store them.

Shape legend: B batch, Z latent channels, F latent frames of all views (views one after the other), h w latent grid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import torch
from torch import Tensor

RAY_CHANNELS = 6


class ConditionMask(NamedTuple):
    """The channels of the mask, each (B,1,F,h,w), in the order in which they are stored.

    ``context`` is 1 in the frames that are given clean, ``warped`` is the share of the cell that a context frame was
    warped to, ``has_layout`` and ``has_rays`` are 1 if the clip has a layout and rays.
    """

    context: Tensor
    warped: Tensor
    has_layout: Tensor
    has_rays: Tensor

    @classmethod
    def from_channels(cls, channels: Tensor) -> "ConditionMask":
        """Views of the four channels of (B,4,F,h,w), or of one clip's (4,F,h,w)."""
        return cls(*channels.split_with_sizes([1, 1, 1, 1], -4))

    def to_channels(self) -> Tensor:
        return torch.cat(self, -4)

    def select(self, rows: Tensor) -> "ConditionMask":
        """The samples ``rows`` (R,) of a batch."""
        return ConditionMask(*(channel[rows] for channel in self))


MASK_CHANNELS = len(ConditionMask._fields)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConditionTensors:
    """The conditions of a clip except caption and domain; a batch has a leading axis B.

    ``warped`` and ``layout`` are (Z,F,h,w), ``mask`` (4,F,h,w) has the channels of ``ConditionMask``, ``rays`` is
    (6,F,h,w). A condition that is absent is zero.
    """

    warped: Tensor
    layout: Tensor
    mask: Tensor
    rays: Tensor

    @classmethod
    def from_mapping(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The record of stored tensors; names that it does not have are ignored."""
        return cls(**{field.name: tensors[field.name] for field in fields(cls)})

    @classmethod
    def stack(cls, clips: "Sequence[ConditionTensors]") -> Self:
        """A batch of clips."""
        return cls(**{field.name: torch.stack([getattr(clip, field.name) for clip in clips]) for field in fields(cls)})

    def to_mapping(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The record with ``function`` applied to every tensor."""
        return self.from_mapping({name: function(tensor) for name, tensor in self.to_mapping().items()})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipTensors(ConditionTensors):
    """All tensors of a training clip: its conditions, ``latents`` (Z,F,h,w) and ``cell_weight`` (F,h,w) of the loss."""

    latents: Tensor
    cell_weight: Tensor
