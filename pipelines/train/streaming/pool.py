"""The pool of the latest clips, encoded and kept on the device, from which batches are drawn without any transfer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from driveforge.datasets.domains import is_driving
from driveforge.finetune.world_model.captions import caption_ids
from driveforge.finetune.world_model.clip_encoder import BOX_WEIGHT
from driveforge.finetune.world_model.clip_tensors import ConditionMask
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.pipelines.train.streaming.latent_grid import average_over_latent_frames, stack_over_latent_frames
from driveforge.pipelines.train.streaming.mirror import mirror_caption, mirror_cells, mirror_images
from driveforge.pipelines.train.streaming.renderers import RenderedBatch
from driveforge.pipelines.train.streaming.whole_clips import encode_clips

# How often a clip is drawn. Mirrored streets drive on the left; they still teach geometry. Of the domains of
# ``conf/pretrain/default.yaml`` four in seven are not driving; at this weight they make up a third of a batch.
_DRIVING_WEIGHT, _MIRRORED_DRIVING_WEIGHT, _OTHER_WEIGHT = 1.0, 0.35, 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingBatch:
    """``latents`` (B,Z,F,h,w), ``cell_weight`` (B,F,h,w), conditions, and ``rows`` (B,) of the pool."""

    latents: Tensor
    cell_weight: Tensor
    conditions: Conditions
    rows: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Entries:
    """The encoded clips, one per row; half precision halves the memory of a clip."""

    frames: Tensor
    latents: Tensor
    warped: Tensor
    layout: Tensor
    warped_share: Tensor
    cell_weight: Tensor
    rays: Tensor
    has_layout: Tensor
    domain: Tensor
    caption: Tensor
    draw_weight: Tensor

    def tensors(self) -> list[Tensor]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


class LatentPool:
    """Up to ``capacity`` clips; a new one replaces the oldest. ``domains`` are those of the model."""

    def __init__(self, codec: WanCodec, capacity: int, domains: tuple[str, ...], device: torch.device) -> None:
        self._codec = codec
        self._capacity = capacity
        self._domains = domains
        self._device = device
        self._entries: _Entries | None = None
        self.num_added = 0

    def __len__(self) -> int:
        return min(self.num_added, self._capacity)

    def add(self, batch: RenderedBatch) -> None:
        """Encode clips and their mirror images."""
        images = torch.from_numpy(batch.images).to(self._device)
        cells = torch.from_numpy(batch.cells).to(self._device).float()
        self._store(self._encode(batch, images, cells, mirrored=False))
        self._store(self._encode(batch, mirror_images(images), mirror_cells(cells), mirrored=True))

    def _encode(self, batch: RenderedBatch, images: Tensor, cells: Tensor, *, mirrored: bool) -> _Entries:
        stride = self._codec.temporal_stride
        latents, warped, layout = encode_clips(self._codec, images.transpose(0, 1).flatten(0, 1)).half().chunk(3)
        has_layout = torch.tensor([clip.has_layout for clip in batch.clips], device=self._device)
        warped_share, boxed = average_over_latent_frames(cells[:, :2], stride).half().unbind(1)
        captions = [mirror_caption(clip.caption) if mirrored else clip.caption for clip in batch.clips]
        driving_weight = _MIRRORED_DRIVING_WEIGHT if mirrored else _DRIVING_WEIGHT
        weights = [driving_weight if is_driving(clip.domain) else _OTHER_WEIGHT for clip in batch.clips]
        return _Entries(
            frames=images[:, 0],
            latents=latents,
            warped=warped,
            layout=layout * has_layout.view(-1, 1, 1, 1, 1),
            warped_share=warped_share,
            cell_weight=1 + BOX_WEIGHT * boxed,
            rays=stack_over_latent_frames(cells[:, 2:], stride).half(),
            has_layout=has_layout,
            domain=torch.tensor([1 + self._domains.index(clip.domain) for clip in batch.clips], device=self._device),
            caption=torch.tensor([caption_ids(text) for text in captions], device=self._device),
            draw_weight=torch.tensor(weights, device=self._device),
        )

    def _store(self, entries: _Entries) -> None:
        if self._entries is None:
            empty = [t.new_zeros(self._capacity, *t.shape[1:]) for t in entries.tensors()]
            self._entries = _Entries(**dict(zip(_Entries.__dataclass_fields__, empty, strict=True)))
        count = len(entries.latents)
        rows = torch.arange(self.num_added, self.num_added + count, device=self._device) % self._capacity
        for stored, new in zip(self._entries.tensors(), entries.tensors(), strict=True):
            stored[rows] = new
        self.num_added += count

    def draw(self, count: int, generator: torch.Generator) -> TrainingBatch:
        """``count`` random clips, with replacement."""
        assert self._entries is not None, "the pool is not empty"
        weights = self._entries.draw_weight[: len(self)]
        return self.select(torch.multinomial(weights, count, replacement=True, generator=generator))

    def select(self, rows: Tensor) -> TrainingBatch:
        """The clips ``rows`` (B,) of the pool, under all of their conditions."""
        entries = self._entries
        assert entries is not None, "the pool is not empty"
        warped_share = entries.warped_share[rows].float()[:, None]
        context = torch.zeros_like(warped_share)
        context[:, :, 0] = 1
        mask = ConditionMask(
            context=context,
            warped=warped_share,
            has_layout=entries.has_layout[rows].float().view(-1, 1, 1, 1, 1).expand_as(context),
            has_rays=torch.ones_like(context),
        )
        conditions = Conditions(
            warped=entries.warped[rows].float(),
            layout=entries.layout[rows].float(),
            mask=mask,
            rays=entries.rays[rows].float(),
            domain=entries.domain[rows],
            text=entries.caption[rows],
            empty_text=torch.zeros_like(entries.caption[0]),
        )
        return TrainingBatch(
            latents=entries.latents[rows].float(),
            cell_weight=entries.cell_weight[rows].float(),
            conditions=conditions,
            rows=rows,
        )

    def frames(self, rows: Tensor) -> Tensor:
        """Frames ``(B,T,H,W,3)`` uint8 of the clips ``rows`` (B,)."""
        assert self._entries is not None, "the pool is not empty"
        return self._entries.frames[rows]
