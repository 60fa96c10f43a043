"""Batches follow the plan, for any number of ranks and workers, and when resuming."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentCache, write_latents
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import Batch, PlannedSamples, PlanSampler, collate, plan_loader
from driveforge.replay.plan import BatchPlan
from tests.replay.conftest import MakeSample

STEPS = 9
# Step, slot, clip id, domain, caption, loss weight, whether it is replayed, a value of the latents.
Row = tuple[int, int, str, str, str, float, bool, float]


@pytest.fixture
def plan(driving: LatentCache, replay: ReplayBuffer) -> BatchPlan:
    return BatchPlan(
        seed=11, batch_size=8, share=0.3, pools=replay.sizes, num_driving=len(driving), loss_weight=0.5
    )  # fmt: skip


def rows(batch: Batch) -> list[Row]:
    """The samples of a batch, as values that can be compared between runs."""
    values = batch.tensors["latents"][:, 0, 0, 0, 0].tolist()
    return [
        (batch.step, *sample)
        for sample in zip(
            batch.slot.tolist(), batch.clip_id, batch.domain, batch.caption,
            batch.loss_weight.tolist(), batch.is_replay.tolist(), values, strict=True,
        )
    ]  # fmt: skip


def sequence(
    plan: BatchPlan,
    driving: LatentCache,
    replay: ReplayBuffer,
    *,
    start: int = 0,
    stop: int = STEPS,
    world_size: int = 1,
    num_workers: int = 0,
) -> list[Row]:
    """The samples of the loaders of all ranks, by step and slot."""
    loaders = [
        plan_loader(
            plan, driving, replay, start=start, stop=stop, rank=rank, world_size=world_size, num_workers=num_workers
        )
        for rank in range(world_size)
    ]
    assert {len(loader) for loader in loaders} == {stop - start}
    return sorted(row for loader in loaders for batch in loader for row in rows(batch))


@pytest.fixture
def uninterrupted(plan: BatchPlan, driving: LatentCache, replay: ReplayBuffer) -> list[Row]:
    return sequence(plan, driving, replay)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_ranks_and_workers_change_nothing(
    plan: BatchPlan,
    driving: LatentCache,
    replay: ReplayBuffer,
    uninterrupted: list[Row],
    world_size: int,
    num_workers: int,
) -> None:
    assert sequence(plan, driving, replay, world_size=world_size, num_workers=num_workers) == uninterrupted


@pytest.mark.parametrize(("start", "num_workers"), [(start, 0) for start in range(STEPS)] + [(4, 2)])
def test_resuming_gives_the_tail(
    plan: BatchPlan,
    driving: LatentCache,
    replay: ReplayBuffer,
    uninterrupted: list[Row],
    start: int,
    num_workers: int,
) -> None:
    tail = [row for row in uninterrupted if row[0] >= start]
    assert sequence(plan, driving, replay, start=start, num_workers=num_workers) == tail


def test_batches_match_the_plan(plan: BatchPlan, driving: LatentCache, replay: ReplayBuffer) -> None:
    for step, batch in enumerate(plan_loader(plan, driving, replay, start=0, stop=STEPS)):
        slots = plan.batch(step)
        expected = [replay.sample(s.pool, s.index) if s.is_replay else driving.sample(s.index) for s in slots]
        assert batch.step == step
        assert batch.clip_id == [sample.clip_id for sample in expected]
        assert batch.loss_weight.tolist() == [0.5 if slot.is_replay else 1.0 for slot in slots]
        assert torch.equal(batch.tensors["latents"], torch.stack([sample.tensors["latents"] for sample in expected]))
        assert batch.tensors["present"].shape == (8, 4)


def test_a_batch_moves_to_another_device(plan: BatchPlan, driving: LatentCache, replay: ReplayBuffer) -> None:
    batch = next(iter(plan_loader(plan, driving, replay, start=0, stop=1)))
    moved = batch.to("meta")
    tensors = [moved.slot, moved.is_replay, moved.loss_weight, *moved.tensors.values()]
    assert len(moved) == 8 and {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.step, moved.clip_id, moved.domain) == (batch.step, batch.clip_id, batch.domain)


def test_spawned_workers_read_too(
    plan: BatchPlan, driving: LatentCache, replay: ReplayBuffer, uninterrupted: list[Row]
) -> None:
    loader = DataLoader(
        PlannedSamples(driving, replay),
        batch_sampler=PlanSampler(plan, 0, 3),
        collate_fn=collate,
        num_workers=1,
        multiprocessing_context=multiprocessing.get_context("spawn"),
    )
    loaded = [row for batch in loader for row in rows(batch)]
    assert loaded == [row for row in uninterrupted if row[0] < 3]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_does_not_change_the_global_generator(
    plan: BatchPlan, driving: LatentCache, replay: ReplayBuffer, num_workers: int
) -> None:
    before = torch.random.get_rng_state()
    list(plan_loader(plan, driving, replay, start=0, stop=2, num_workers=num_workers))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_naive_fine_tuning_needs_no_buffer(driving: LatentCache) -> None:
    plan = BatchPlan(seed=0, batch_size=4, share=0.0, pools={}, num_driving=len(driving))
    batches = list(plan_loader(plan, driving, None, start=0, stop=3))
    assert [batch.is_replay.any().item() for batch in batches] == [False] * 3


def test_a_plan_for_other_data_is_rejected(
    plan: BatchPlan, driving: LatentCache, replay: ReplayBuffer, tmp_path: Path, make_sample: MakeSample
) -> None:
    smaller = write_latents(tmp_path, "key", [make_sample(0)])
    with pytest.raises(UserError, match="13 driving samples, there are 1"):
        plan_loader(plan, smaller, replay, start=0, stop=1)
    with pytest.raises(UserError, match="the buffer holds none"):
        plan_loader(plan, driving, None, start=0, stop=1)


def test_samples_with_different_tensors_are_named(
    plan: BatchPlan, replay: ReplayBuffer, tmp_path: Path, make_sample: MakeSample
) -> None:
    wider = write_latents(tmp_path, "wider", [make_sample(n, "driving-day", channels=5) for n in range(13)])
    with pytest.raises(UserError, match=r"driving-day-00000 and falling-\d+ cannot share a batch"):
        plan_loader(plan, wider, replay, start=0, stop=1)
