"""Any number of ranks and loader workers trains on the same batches, with the planned share of replay."""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.domains import DRIVING
from driveforge.datasets.latents.cache import LatentCache
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import PlanSampler, plan_loader
from driveforge.replay.plan import BatchPlan, BatchSlot

WORLDS = (1, 2, 4, 8)
SHARES = (0.01, 0.1, 0.25, 1 / 3, 0.5)

plans = st.builds(
    BatchPlan,
    seed=st.integers(0, 2**32),
    batch_size=st.sampled_from([8, 16, 40]),
    share=st.one_of(st.floats(0, 1), st.sampled_from(SHARES)),
    pools=st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.integers(1, 50), min_size=1),
    num_driving=st.integers(1, 40),
)


@settings(max_examples=40, deadline=None)
@given(plan=plans, start=st.integers(0, 10**6))
def test_ranks_share_out_the_batches_of_one(plan: BatchPlan, start: int) -> None:
    """At every step: the same slots for any number of ranks, and replay within one sample of its exact share."""
    stop = start + 12
    single_rank = [set(draws) for draws in PlanSampler(plan, start, stop)]
    assert all(len(draws) == plan.batch_size for draws in single_rank)
    for world_size in WORLDS:
        ranks = [list(PlanSampler(plan, start, stop, rank, world_size)) for rank in range(world_size)]
        counts: Counter[str] = Counter(plan.count_samples(start))
        for number, slices in enumerate(zip(*ranks, strict=True)):
            slots_of_step = [draw for part in slices for draw in part]
            assert len(slots_of_step) == plan.batch_size, "no slot twice"
            assert set(slots_of_step) == single_rank[number]
            counts.update(draw.pool for draw in slots_of_step)
            exact = Fraction(str(plan.share)) * plan.batch_size * (start + number + 1)
            assert abs(sum(counts[domain] for domain in plan.pools) - exact) < 1
            assert all(abs(counts[domain] - exact / len(plan.pools)) < 1 for domain in plan.pools)


def planned(driving: LatentCache, replay: ReplayBuffer, share: float = 0.3) -> BatchPlan:
    return BatchPlan(seed=3, batch_size=16, share=share, pools=replay.sizes, num_driving=len(driving))


def loaded(
    plan: BatchPlan,
    driving: LatentCache,
    replay: ReplayBuffer,
    ranks: Iterable[int],
    world_size: int,
    num_workers: int,
    steps: int,
) -> dict[int, list[tuple[int, str, str]]]:
    """By step, the slot, pool and clip of every sample that real loaders return to these ranks."""
    batches: dict[int, list[tuple[int, str, str]]] = {step: [] for step in range(steps)}
    for rank in ranks:
        loader = plan_loader(
            plan, driving, replay, start=0, stop=steps, rank=rank, world_size=world_size, num_workers=num_workers
        )
        for step, batch in enumerate(loader):
            assert batch.step == step, "workers hand over in turn"
            pools = [
                name if is_replay else DRIVING for name, is_replay in zip(batch.domain, batch.is_replay, strict=True)
            ]
            batches[step] += zip(batch.slot.tolist(), pools, batch.clip_id, strict=True)
    return batches


def expected(
    plan: BatchPlan, driving: LatentCache, replay: ReplayBuffer, ranks: Iterable[int], world_size: int, steps: int
) -> dict[int, list[tuple[int, str, str]]]:
    def clip(draw: BatchSlot) -> str:
        return (replay.sample(draw.pool, draw.index) if draw.is_replay else driving.sample(draw.index)).clip_id

    return {
        step: [(draw.slot, draw.pool, clip(draw)) for rank in ranks for draw in plan.rank_slice(step, rank, world_size)]
        for step in range(steps)
    }


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("world_size", WORLDS)
def test_loaded_batches_hold_the_share_at_every_step(
    driving: LatentCache, replay: ReplayBuffer, world_size: int, share: float
) -> None:
    plan, replayed = planned(driving, replay, share), 0
    batches = loaded(plan, driving, replay, range(world_size), world_size, 0, steps=11)
    for step, samples in batches.items():
        assert sorted(slot for slot, _, _ in samples) == list(range(16))
        replayed += sum(pool != DRIVING for _, pool, _ in samples)
        assert abs(replayed - Fraction(str(share)) * 16 * (step + 1)) < 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_eight_workers_of_one_of_eight_ranks(driving: LatentCache, replay: ReplayBuffer) -> None:
    plan = planned(driving, replay)
    assert loaded(plan, driving, replay, [5], 8, 8, steps=10) == expected(plan, driving, replay, [5], 8, steps=10)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("num_workers", [2, 8])
@pytest.mark.parametrize("world_size", WORLDS)
def test_every_rank_and_worker(driving: LatentCache, replay: ReplayBuffer, world_size: int, num_workers: int) -> None:
    plan, ranks = planned(driving, replay), range(world_size)
    batches = loaded(plan, driving, replay, ranks, world_size, num_workers, steps=20)
    assert batches == expected(plan, driving, replay, ranks, world_size, steps=20)
