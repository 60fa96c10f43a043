from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.domains import DRIVING
from driveforge.datasets.errors import UserError
from driveforge.replay.plan import BatchPlan
from driveforge.replay.share import LinearShare, ShareSchedule, SteppedShare

POOLS = {"orbit": 7, "falling": 3, "walkers": 11}


def plan(**changes: Any) -> BatchPlan:
    values: dict[str, Any] = {"seed": 5, "batch_size": 8, "share": 0.25, "pools": POOLS, "num_driving": 20}
    return BatchPlan(**(values | changes))


plans = st.builds(
    BatchPlan,
    seed=st.integers(0, 2**32),
    batch_size=st.sampled_from([1, 2, 3, 8, 24]),
    share=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.1, 0.25, 1 / 3, 0.5, 1.0])),
    pools=st.dictionaries(
        st.sampled_from(["a", "b", "c", "d", "e"]), st.integers(1, 50), min_size=1
    ),
    num_driving=st.integers(1, 40),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(plan=plans)
def test_shares_are_exact_within_one_sample_at_every_step(plan: BatchPlan) -> None:
    counts: Counter[str] = Counter()
    share = Fraction(str(plan.share))
    for step in range(40):
        assert plan.count_samples(step) == {pool: counts[pool] for pool in (DRIVING, *plan.pools)}
        batch = plan.batch(step)
        assert len(batch) == plan.batch_size
        counts.update(draw.pool for draw in batch)
        exact = share * plan.batch_size * (step + 1)
        assert abs(sum(counts[domain] for domain in plan.pools) - exact) < 1
        assert all(abs(counts[domain] - exact / len(plan.pools)) < 1 for domain in plan.pools)


@settings(max_examples=60, deadline=None)
@given(plan=plans, start=st.integers(0, 10**9))
def test_any_step_can_be_computed_without_the_steps_before(plan: BatchPlan, start: int) -> None:
    again = BatchPlan(
        seed=plan.seed,
        batch_size=plan.batch_size,
        share=plan.share,
        pools=dict(reversed(list(plan.pools.items()))),
        num_driving=plan.num_driving,
    )
    assert again.batch(start + 3) == plan.batch(start + 3)
    sizes = dict(plan.pools) | {DRIVING: plan.num_driving}
    for slot, draw in enumerate(plan.batch(start)):
        assert (draw.step, draw.slot) == (start, slot)
        assert 0 <= draw.index < sizes[draw.pool]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100), step=st.integers(0, 1000), share=st.floats(0, 1))
def test_ranks_together_make_the_batch(seed: int, step: int, share: float) -> None:
    whole = plan(seed=seed, share=share)
    for world_size in (1, 2, 4, 8):
        slices = [whole.rank_slice(step, rank, world_size) for rank in range(world_size)]
        assert {len(part) for part in slices} == {8 // world_size}
        together = sorted((draw for part in slices for draw in part), key=lambda draw: draw.slot)
        assert tuple(together) == whole.batch(step)
        replayed = [sum(draw.is_replay for draw in part) for part in slices]
        assert max(replayed) - min(replayed) <= 1


def test_every_epoch_is_a_new_permutation_of_the_driving_samples() -> None:
    naive = plan(share=0.0, pools={}, num_driving=24)
    epochs = [[draw.index for step in range(3 * e, 3 * e + 3) for draw in naive.batch(step)] for e in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(24))] * 2
    assert epochs[0] != epochs[1] != list(range(24))


def test_a_share_is_an_exact_decimal() -> None:
    assert plan(share=0.3, batch_size=10, pools={"orbit": 5}).count_samples(1) == {DRIVING: 7, "orbit": 3}


def test_replay_does_not_interrupt_the_epochs_of_driving_samples() -> None:
    drawn = [draw.index for step in range(10) for draw in plan(share=0.25).batch(step) if not draw.is_replay]
    assert len(drawn) == 60
    assert sorted(drawn[:20]) == sorted(drawn[20:40]) == list(range(20))


def test_no_sample_of_a_domain_repeats_within_an_epoch() -> None:
    drawn = [draw.index for step in range(24) for draw in plan().batch(step) if draw.pool == "falling"]
    assert len(drawn) == 16
    assert all(sorted(drawn[i : i + 3]) == [0, 1, 2] for i in range(0, 15, 3))


def test_seeds_domains_and_steps_differ() -> None:
    def drawn(**changes: Any) -> tuple[int, ...]:
        return tuple(d.index for step in range(5) for d in plan(share=1.0, **changes).batch(step))

    big = {"a": 1000, "b": 1000}
    assert drawn(pools=big, seed=1) != drawn(pools=big, seed=2)
    assert drawn(pools=big)[::2] != drawn(pools=big)[1::2]
    assert len(set(drawn(pools=big))) > 30


def test_loss_weight_changes_no_batch() -> None:
    light, heavy = plan(loss_weight=0.5), plan(loss_weight=3.0)
    for step in range(20):
        pairs = list(zip(light.batch(step), heavy.batch(step), strict=True))
        assert all((a.pool, a.index, a.slot) == (b.pool, b.index, b.slot) for a, b in pairs)
        assert all((a.loss_weight, b.loss_weight) == ((0.5, 3.0) if a.is_replay else (1.0, 1.0)) for a, b in pairs)


def test_a_share_of_zero_is_naive_and_needs_no_pools() -> None:
    naive = plan(share=0.0, pools={})
    assert {draw.pool for step in range(9) for draw in naive.batch(step)} == {DRIVING}
    assert naive.count_samples(9) == {DRIVING: 72}


@pytest.mark.parametrize(
    "share",
    [LinearShare(0.0, 1.0, 30), LinearShare(0.7, 0.1, 7), SteppedShare(((0, 0.3), (5, 0.0), (11, 1.0), (12, 0.45)))],
)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_share_that_changes_is_exact_within_one_sample_at_every_step(share: ShareSchedule, batch_size: int) -> None:
    changing = plan(share=share, batch_size=batch_size)
    counts: Counter[str] = Counter()
    for step in range(40):
        assert changing.count_samples(step) == {pool: counts[pool] for pool in (DRIVING, *changing.pools)}
        batch = changing.batch(step)
        assert len(batch) == batch_size
        counts.update(draw.pool for draw in batch)
        exact = share.cumulative_share(step + 1) * batch_size
        assert 0 <= exact - sum(counts[domain] for domain in POOLS) < 1
        assert all(abs(counts[domain] - exact / len(POOLS)) < 1 for domain in POOLS)


def test_a_later_change_does_not_affect_earlier_batches() -> None:
    before, after = (SteppedShare(((0, 0.3), (5, 0.5), *later)) for later in ((), ((20, 0.9),)))
    assert [plan(share=before).batch(step) for step in range(20)] == [
        plan(share=after).batch(step) for step in range(20)
    ]
    assert plan(share=before).batch(20) != plan(share=after).batch(20)


def test_a_proportional_plan_repeats_no_replay_sample_within_an_epoch() -> None:
    dealt = plan(share=0.5, is_proportional=True)
    counts: Counter[str] = Counter()
    drawn: list[tuple[str, int]] = []
    for step in range(21):
        assert dealt.count_samples(step) == {pool: counts[pool] for pool in (DRIVING, *dealt.pools)}
        batch = dealt.batch(step)
        counts.update(draw.pool for draw in batch)
        drawn += [(draw.pool, draw.index) for draw in batch if draw.is_replay]
    everything = sorted((domain, index) for domain, size in POOLS.items() for index in range(size))
    passes = [drawn[start : start + 21] for start in range(0, 84, 21)]
    assert [sorted(once) for once in passes] == [everything] * 4
    assert passes[0] != passes[1]


def test_a_share_of_one_needs_no_driving() -> None:
    assert all(draw.is_replay for draw in plan(share=1.0, num_driving=0).batch(3))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 1.2}, "share 1.2"),
        ({"share": float("nan")}, "share nan"),
        ({"share": 0.1, "pools": {}}, "needs a replay buffer"),
        ({"pools": {"orbit": 0}}, "orbit holds no samples"),
        ({"pools": {"driving": 3}}, "may not be called"),
        ({"num_driving": 0}, "no driving samples"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"loss_weight": -1.0}, "loss_weight -1"),
        ({"loss_weight": float("nan")}, "loss_weight nan"),
    ],
)
def test_an_invalid_plan_is_an_error(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan(**changes)


def test_ranks_must_divide_the_batch() -> None:
    with pytest.raises(UserError, match="split evenly over 3"):
        plan().rank_slice(0, 0, 3)
    with pytest.raises(UserError, match="rank 2"):
        plan().rank_slice(0, 2, 2)
