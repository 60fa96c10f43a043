import multiprocessing

import pytest
import torch
from torch.utils.data import DataLoader

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentSample, write_latents
from driveforge.replay.dataset import PlannedSamples, PlanSampler, collate, plan_loader
from driveforge.replay.plan import BatchPlan

STEPS = 9


@pytest.fixture
def plan(driving, replay):
    return BatchPlan(
        seed=11, batch_size=8, share=0.3, pools=replay.sizes, num_driving=len(driving), loss_weight=0.5
    )  # fmt: skip


def record(batch):
    """What a batch holds, by place: all that has to agree between runs."""
    values = batch["latents"][:, 0, 0, 0, 0].tolist()
    return [
        (batch["step"], *place)
        for place in zip(
            batch["slot"].tolist(), batch["clip_id"], batch["domain"], batch["caption"],
            batch["loss_weight"].tolist(), batch["is_replay"].tolist(), values, strict=True,
        )
    ]  # fmt: skip


def sequence(plan, driving, replay, *, start=0, stop=STEPS, world_size=1, num_workers=0):
    """The global sequence of places, from the loaders of all ranks."""
    loaders = [
        plan_loader(
            plan, driving, replay, start=start, stop=stop, rank=rank, world_size=world_size, num_workers=num_workers
        )
        for rank in range(world_size)
    ]
    assert {len(loader) for loader in loaders} == {stop - start}
    return sorted(place for loader in loaders for batch in loader for place in record(batch))


@pytest.fixture
def uninterrupted(plan, driving, replay):
    return sequence(plan, driving, replay)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_ranks_and_workers_change_nothing(plan, driving, replay, uninterrupted, world_size, num_workers):
    assert sequence(plan, driving, replay, world_size=world_size, num_workers=num_workers) == uninterrupted


@pytest.mark.parametrize(("start", "num_workers"), [(start, 0) for start in range(STEPS)] + [(4, 2)])
def test_resuming_gives_the_tail(plan, driving, replay, uninterrupted, start, num_workers):
    tail = [place for place in uninterrupted if place[0] >= start]
    assert sequence(plan, driving, replay, start=start, num_workers=num_workers) == tail


def test_batches_hold_what_the_plan_says(plan, driving, replay):
    for step, batch in enumerate(plan_loader(plan, driving, replay, start=0, stop=STEPS)):
        draws = plan.batch(step)
        wanted = [replay.sample(d.pool, d.index) if d.is_replay else driving.sample(d.index) for d in draws]
        assert batch["step"] == step
        assert batch["clip_id"] == [sample.clip_id for sample in wanted]
        assert batch["loss_weight"].tolist() == [0.5 if draw.is_replay else 1.0 for draw in draws]
        assert torch.equal(batch["latents"], torch.stack([sample.tensors["latents"] for sample in wanted]))
        assert batch["present"].shape == (8, 4)


def test_spawned_workers_read_too(plan, driving, replay, uninterrupted):
    loader = DataLoader(
        PlannedSamples(driving, replay),
        batch_sampler=PlanSampler(plan, 0, 3),
        collate_fn=collate,
        num_workers=1,
        multiprocessing_context=multiprocessing.get_context("spawn"),
    )
    places = [place for batch in loader for place in record(batch)]
    assert places == [place for place in uninterrupted if place[0] < 3]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_leaves_the_global_generator_alone(plan, driving, replay, num_workers):
    before = torch.random.get_rng_state()
    list(plan_loader(plan, driving, replay, start=0, stop=2, num_workers=num_workers))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_naive_fine_tuning_needs_no_buffer(driving):
    plan = BatchPlan(seed=0, batch_size=4, share=0.0, pools={}, num_driving=len(driving))
    batches = list(plan_loader(plan, driving, None, start=0, stop=3))
    assert [batch["is_replay"].any().item() for batch in batches] == [False] * 3


def test_a_plan_for_other_data_is_refused(plan, driving, replay, tmp_path, make_sample):
    smaller = write_latents(tmp_path, "key", [make_sample(0)])
    with pytest.raises(UserError, match="13 driving samples, there are 1"):
        plan_loader(plan, smaller, replay, start=0, stop=1)
    with pytest.raises(UserError, match="the buffer holds none"):
        plan_loader(plan, driving, None, start=0, stop=1)


def test_samples_that_do_not_fit_together_are_named(plan, replay, tmp_path, make_sample):
    wider = write_latents(tmp_path, "wider", [make_sample(n, "driving-day", channels=5) for n in range(13)])
    with pytest.raises(UserError, match=r"driving-day-00000 and falling-\d+ cannot share a batch"):
        plan_loader(plan, wider, replay, start=0, stop=1)
    named = LatentSample(clip_id="x", domain="d", caption="", tensors={"step": torch.ones(1)})
    naive = BatchPlan(seed=0, batch_size=1, share=0.0, pools={}, num_driving=1)
    with pytest.raises(UserError, match="may not be called step"):
        plan_loader(naive, write_latents(tmp_path, "named", [named]), None, start=0, stop=1)
