"""Datasets, sampler and collation that load the batches of a plan with torch's DataLoader."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.shards import LatentSample
from driveforge.replay.plan import BatchPlan, BatchSlot


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """The B samples of one step of the plan, or one rank's part of them.

    ``tensors`` are the stored tensors by name, each (B, ...). ``slot`` (B,) int64 is the position of a sample in the
    batch of all ranks; ``loss_weight`` (B,) is float32, ``is_replay`` (B,) bool. ``clip_id``, ``domain`` and
    ``caption`` have B entries.
    """

    step: int
    slot: Tensor
    is_replay: Tensor
    loss_weight: Tensor
    tensors: Mapping[str, Tensor]
    clip_id: list[str]
    domain: list[str]
    caption: list[str]

    def __len__(self) -> int:
        return len(self.slot)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on ``device``; Lightning calls it before each training step."""
        return replace(
            self,
            slot=self.slot.to(device),
            is_replay=self.is_replay.to(device),
            loss_weight=self.loss_weight.to(device),
            tensors={name: tensor.to(device) for name, tensor in self.tensors.items()},
        )


class DrivingSamples(Protocol):
    """The driving samples: a ``driveforge.datasets.latents.cache.LatentCache``, or part of one."""

    def __len__(self) -> int: ...

    def sample(self, i: int, /) -> LatentSample: ...


class ReplaySamples(Protocol):
    """The samples of other domains: a ``replay.buffer.ReplayBuffer``."""

    @property
    def sizes(self) -> dict[str, int]: ...

    def sample(self, domain: str, i: int, /) -> LatentSample: ...


@dataclass(frozen=True, eq=False)
class PlannedSamples(Dataset[tuple[BatchSlot, LatentSample]]):
    """Looks up the sample of a ``BatchSlot``; ``replay`` may be None if the plan has no replay."""

    driving: DrivingSamples
    replay: ReplaySamples | None

    def __getitem__(self, slot: BatchSlot) -> tuple[BatchSlot, LatentSample]:
        if not slot.is_replay:
            return slot, self.driving.sample(slot.index)
        assert self.replay is not None
        return slot, self.replay.sample(slot.pool, slot.index)


@dataclass(frozen=True, eq=False)
class PlanSampler(Sampler[list[BatchSlot]]):
    """The slots of one rank's batches for the steps ``start`` to ``stop``."""

    plan: BatchPlan
    start: int
    stop: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[BatchSlot]]:
        for step in range(self.start, self.stop):
            yield list(self.plan.rank_slice(step, self.rank, self.world_size))


def collate(pairs: Sequence[tuple[BatchSlot, LatentSample]]) -> Batch:
    """Stacks samples of one step into a batch."""
    slots, samples = zip(*pairs, strict=True)
    return Batch(
        step=slots[0].step,
        slot=torch.tensor([batch_slot.slot for batch_slot in slots]),
        is_replay=torch.tensor([batch_slot.is_replay for batch_slot in slots]),
        loss_weight=torch.tensor([batch_slot.loss_weight for batch_slot in slots], dtype=torch.float32),
        tensors={name: torch.stack([sample.tensors[name] for sample in samples]) for name in samples[0].tensors},
        clip_id=[sample.clip_id for sample in samples],
        domain=[sample.domain for sample in samples],
        caption=[sample.caption for sample in samples],
    )


def plan_loader(
    plan: BatchPlan,
    driving: DrivingSamples,
    replay: ReplaySamples | None,
    *,
    start: int,
    stop: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
) -> DataLoader[Any]:
    """Loads the batches of the steps ``start`` to ``stop``, the same ones with any number of ranks and workers.

    To resume, pass the number of steps already taken as ``start``; there is no other state. Raises UserError if the
    plan is for another number of samples, or if driving and replay samples differ in their tensors.
    """
    if plan.num_driving != len(driving):
        raise UserError(f"the plan is for {plan.num_driving} driving samples, there are {len(driving)}")
    if plan.has_replay and (replay is None or dict(plan.pools) != replay.sizes):
        found = "none" if replay is None else replay.sizes
        raise UserError(f"the plan is for replay samples {dict(plan.pools)}, the buffer holds {found}")
    _require_one_layout(plan, driving, replay)
    return DataLoader(
        PlannedSamples(driving, replay),
        batch_sampler=PlanSampler(plan, start, stop, rank, world_size),
        collate_fn=collate,
        num_workers=num_workers,
        # Without a generator the loader seeds its workers from torch's global one, which would change its state.
        generator=torch.Generator().manual_seed(0),
    )


def _require_one_layout(plan: BatchPlan, driving: DrivingSamples, replay: ReplaySamples | None) -> None:
    # All samples of a cache, or of a buffer, have the same names, shapes and dtypes, so one of each is enough.
    samples = [driving.sample(0)] if plan.num_driving else []
    if replay is not None and plan.has_replay:
        samples.append(replay.sample(next(iter(plan.pools)), 0))
    for sample in samples:
        if sample.tensor_specs != samples[0].tensor_specs:
            raise UserError(
                f"clips {samples[0].clip_id} and {sample.clip_id} cannot share a batch: their stored tensors differ in "
                "name, shape or dtype; make the driving cache and the replay buffer with one transform and one VAE"
            )
