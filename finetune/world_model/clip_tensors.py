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
    (6S,F,h,w) for a codec of temporal stride S. A condition that is absent is zero.

    Only some families have the others: ``image`` (Z,F,h,w), the context frames followed by gray, encoded;
    ``image_embeds`` (N,D), features of the first frame; ``frame_rate`` () in Hz.
    """

    warped: Tensor
    layout: Tensor
    mask: Tensor
    rays: Tensor
    image: Tensor | None = None
    image_embeds: Tensor | None = None
    frame_rate: Tensor | None = None

    @classmethod
    def from_mapping(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The record of stored tensors; names that it does not have are ignored."""
        return cls(**{field.name: tensors[field.name] for field in fields(cls) if field.name in tensors})

    @classmethod
    def stack(cls, clips: "Sequence[ConditionTensors]") -> Self:
        """A batch of clips."""
        mappings = [clip.to_mapping() for clip in clips]
        return cls.from_mapping({name: torch.stack([m[name] for m in mappings]) for name in mappings[0]})

    def to_mapping(self) -> dict[str, Tensor]:
        """The tensors by name, without those that the family does not have."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The record with ``function`` applied to every tensor."""
        return self.from_mapping({name: function(tensor) for name, tensor in self.to_mapping().items()})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipTensors(ConditionTensors):
    """All tensors of a training clip: its conditions, ``latents`` (Z,F,h,w) and ``cell_weight`` (F,h,w) of the loss."""

    latents: Tensor
    cell_weight: Tensor
