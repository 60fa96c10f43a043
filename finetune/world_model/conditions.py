"""The conditions of the model as batches of tensors, dropped at random in training.

Shape legend: B batch, Z latent channels, F latent frames of all views (views one after the other), h w latent grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from driveforge.finetune.world_model.clip_tensors import ConditionMask, ConditionTensors


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """A batch of conditions: ``warped`` and ``layout`` (B,Z,F,h,w), ``mask``, ``rays`` (B,6S,F,h,w), ``domain`` (B,).

    ``text`` (B,L) are caption ids, or (B,L,D) embeddings of captions; ``empty_text``, (L) or (L,D), is that of no
    caption. ``image`` (B,Z,F,h,w), ``image_embeds`` (B,N,D) and ``frame_rate`` (B,) as in ``ConditionTensors``.

    An absent condition is zero: its channels, its mask, domain 0. An absent caption is ``empty_text``.
    """

    warped: Tensor
    layout: Tensor
    mask: ConditionMask
    rays: Tensor
    domain: Tensor
    text: Tensor
    empty_text: Tensor
    image: Tensor | None = None
    image_embeds: Tensor | None = None
    frame_rate: Tensor | None = None
    num_views: int = 1

    @classmethod
    def stack(
        cls, tensors: ConditionTensors, domain: Tensor, text: Tensor, empty_text: Tensor, num_views: int = 1
    ) -> "Conditions":
        """The conditions of a batch of clips, in single precision."""
        optional = {"image": tensors.image, "image_embeds": tensors.image_embeds, "frame_rate": tensors.frame_rate}
        return cls(
            warped=tensors.warped.float(),
            layout=tensors.layout.float(),
            mask=ConditionMask.from_channels(tensors.mask.float()),
            rays=tensors.rays.float(),
            domain=domain,
            text=text,
            empty_text=empty_text,
            num_views=num_views,
            **{name: tensor.float() for name, tensor in optional.items() if tensor is not None},
        )

    @classmethod
    def cat(cls, batches: Sequence["Conditions"]) -> "Conditions":
        """The samples of all ``batches`` as one batch."""
        first = batches[0]
        names = [name for name in cls._batched_names() if getattr(first, name) is not None]
        joined: dict[str, Any] = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
        channels = zip(*(batch.mask for batch in batches), strict=True)
        return replace(first, mask=ConditionMask(*(torch.cat(channel) for channel in channels)), **joined)

    @classmethod
    def _batched_names(cls) -> list[str]:
        """The names of the tensors that have an axis of samples."""
        return [field.name for field in fields(cls) if field.name not in ("mask", "empty_text", "num_views")]

    @property
    def context_mask(self) -> Tensor:
        """(B,1,F,1,1), 1 in context frames."""
        return self.mask.context[..., :1, :1]

    def select(self, rows: Tensor) -> "Conditions":
        """The samples ``rows`` (R,) of the batch."""
        values = {name: getattr(self, name) for name in self._batched_names()}
        selected: dict[str, Any] = {name: value[rows] for name, value in values.items() if value is not None}
        return replace(self, mask=self.mask.select(rows), **selected)

    def without_frames(self, drop: Tensor) -> "Conditions":
        """Without context frames, and so without anything warped from them, where ``drop`` (B,) is True."""
        keep = _keep_mask(drop)
        mask = self.mask._replace(context=self.mask.context * keep, warped=self.mask.warped * keep)
        image = None if self.image is None else self.image * keep
        embeds = None if self.image_embeds is None else self.image_embeds * keep[:, :, 0, 0]
        return replace(self, warped=self.warped * keep, mask=mask, image=image, image_embeds=embeds)

    def without_layout(self, drop: Tensor) -> "Conditions":
        keep = _keep_mask(drop)
        return replace(self, layout=self.layout * keep, mask=self.mask._replace(has_layout=self.mask.has_layout * keep))

    def without_pose(self, drop: Tensor) -> "Conditions":
        """Without rays and without warped frames; the context frames themselves are kept."""
        keep = _keep_mask(drop)
        keep_warped = torch.maximum(keep, self.context_mask)
        mask = self.mask._replace(warped=self.mask.warped * keep_warped, has_rays=self.mask.has_rays * keep)
        return replace(self, warped=self.warped * keep_warped, rays=self.rays * keep, mask=mask)

    def without_text(self, drop: Tensor) -> "Conditions":
        """Without caption and domain."""
        text = torch.where(drop.view(-1, *(1 for _ in self.empty_text.shape)), self.empty_text, self.text)
        return replace(self, domain=self.domain * (~drop).long(), text=text)

    def with_context_noise(self, level: Tensor, noise: Tensor) -> "Conditions":
        """With ``noise`` (B,Z,F,h,w) of ``level`` (B,) in the context frames and in what is warped from them."""

        def corrupt(latents: Tensor) -> Tensor:
            # Latents of frames that are absent are exactly 0.
            return torch.where(latents == 0, latents, mix(latents, noise, level))

        image = self.image
        if image is not None:  # gray after the context frames
            image = torch.where(self.mask.context > 0, corrupt(image), image)
        return replace(self, warped=corrupt(self.warped), image=image)

    def as_continuation(self, latents: Tensor, num_context_frames: Tensor) -> "Conditions":
        """The conditions of an unconditional continuation: context frames, and neither layout nor pose.

        The context is the first ``num_context_frames`` (B,) latent frames of ``latents`` (B,Z,F,h,w). Copies of its
        last frame fill the later frames, so all motion has to come from the model. Samples with 0 context frames are
        unchanged.
        """
        positions = torch.arange(latents.shape[2], device=latents.device)
        # Views are concatenated along the frame axis; in each, frames are numbered from 0.
        frame_numbers = positions % (len(positions) // self.num_views)
        # 0 in context frames; n in the n-th frame after the last of them, which copies from n frames before.
        frames_past_context = (frame_numbers - num_context_frames.clamp_min(1)[:, None] + 1).clamp_min(0)
        warped = latents.gather(2, (positions - frames_past_context)[:, None, :, None, None].expand_as(latents))
        context = (frames_past_context == 0)[:, None, :, None, None]
        context = context.expand_as(self.mask.context).to(self.mask.context.dtype)
        commanded = self.without_layout(num_context_frames > 0).without_pose(num_context_frames > 0)
        is_continuation = (num_context_frames > 0).view(-1, 1, 1, 1, 1)
        image = self.image
        if image is not None:
            image = torch.where(is_continuation & (context > 0), latents, image)
        return replace(
            commanded,
            warped=torch.where(is_continuation, warped, commanded.warped),
            image=image,
            mask=commanded.mask._replace(
                context=torch.where(is_continuation, context, commanded.mask.context),
                warped=torch.where(is_continuation, context, commanded.mask.warped),
            ),
        )

    def unconditional(self, negative_text: Tensor | None = None) -> "Conditions":
        """The conditions that classifier-free guidance steers away from: context frames and ``negative_text`` only."""
        drop_all = torch.ones(len(self.domain), dtype=torch.bool, device=self.domain.device)
        bare = self.without_layout(drop_all).without_pose(drop_all).without_text(drop_all)
        return bare if negative_text is None else replace(bare, text=negative_text.expand_as(bare.text))


def mix(latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """(1 - ``level``) ``latents`` + ``level`` ``noise``, both (B,Z,F,h,w), with ``level`` (B,)."""
    share = level.view(-1, 1, 1, 1, 1)
    return (1 - share) * latents + share * noise


def _keep_mask(drop: Tensor) -> Tensor:
    return (~drop).float().view(-1, 1, 1, 1, 1)
