"""Collated batches that follow a plan, for torch's own DataLoader."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.shards import LatentSample
from driveforge.replay.plan import BatchPlan, BatchSlot

Batch = dict[str, Any]
RESERVED_NAMES = ("loss_weight", "is_replay", "step", "slot", "clip_id", "domain", "caption")


class DrivingSamples(Protocol):
    """The driving side: ``driveforge.datasets.latents.cache.LatentCache``, or part of one."""

    def __len__(self) -> int: ...

    def sample(self, i: int, /) -> LatentSample: ...


class ReplaySamples(Protocol):
    """The other side: ``replay.buffer.ReplayBuffer``."""

    @property
    def sizes(self) -> dict[str, int]: ...

    def sample(self, domain: str, i: int, /) -> LatentSample: ...


@dataclass(frozen=True, eq=False)
class PlannedSamples(Dataset[tuple[BatchSlot, LatentSample]]):
    """Looks up the sample of a ``BatchSlot``; ``replay`` may be None where the plan replays nothing."""

    driving: DrivingSamples
    replay: ReplaySamples | None

    def __getitem__(self, slot: BatchSlot) -> tuple[BatchSlot, LatentSample]:
        if not slot.is_replay:
            return slot, self.driving.sample(slot.index)
        assert self.replay is not None
        return slot, self.replay.sample(slot.pool, slot.index)


@dataclass(frozen=True, eq=False)
class PlanSampler(Sampler[list[BatchSlot]]):
    """The batches of one rank for the steps ``start`` to ``stop``, its length known."""

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
    """Stacks B samples into one batch.

    Each stored tensor becomes ``(B, ...)`` under its own name. Beside them: ``loss_weight`` ``(B,)`` float32,
    ``is_replay`` ``(B,)`` bool, ``slot`` ``(B,)`` int64 (the place in the batch of all ranks), ``step`` int, and the
    lists ``clip_id``, ``domain`` and ``caption``.
    """
    slots, samples = zip(*pairs, strict=True)
    stacked = {name: torch.stack([sample.tensors[name] for sample in samples]) for name in samples[0].tensors}
    return stacked | {
        "loss_weight": torch.tensor([slot.loss_weight for slot in slots], dtype=torch.float32),
        "is_replay": torch.tensor([slot.is_replay for slot in slots]),
        "slot": torch.tensor([batch_slot.slot for batch_slot in slots]),
        "step": slots[0].step,
        "clip_id": [sample.clip_id for sample in samples],
        "domain": [sample.domain for sample in samples],
        "caption": [sample.caption for sample in samples],
    }


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
    """Batches of the steps ``start`` to ``stop``: the same ones for any number of ranks and workers, and when resuming.

    To resume, give the number of steps already taken as ``start``; nothing else is remembered.
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
        # Without one of its own the loader would draw from torch's global generator and change what comes after it.
        generator=torch.Generator().manual_seed(0),
    )


def _require_one_layout(plan: BatchPlan, driving: DrivingSamples, replay: ReplaySamples | None) -> None:
    # A cache and a buffer each hold one layout, so one sample speaks for all of its side.
    samples = [driving.sample(0)] if plan.num_driving else []
    if replay is not None and plan.has_replay:
        samples.append(replay.sample(next(iter(plan.pools)), 0))
    for sample in samples:
        if sample.tensor_specs != samples[0].tensor_specs:
            raise UserError(
                f"clips {samples[0].clip_id} and {sample.clip_id} cannot share a batch: their stored tensors differ in "
                "name, shape or dtype; make the driving cache and the replay buffer with one transform and one VAE"
            )
        reserved = sorted(set(sample.tensors) & set(RESERVED_NAMES))
        if reserved:
            raise UserError(f"clip {sample.clip_id}: a stored tensor may not be called {', '.join(reserved)}")
