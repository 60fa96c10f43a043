import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driveforge.replay.selection import RandomSelection, counter_generator


def drawn(count: int, *, size: int, pool: str = "orbit", seed: int = 3, first: int = 0) -> list[int]:
    select = RandomSelection()
    return [select.index(pool=pool, size=size, number=n, seed=seed) for n in range(first, first + count)]


@given(size=st.integers(1, 200), epoch=st.integers(0, 10**9))
def test_every_pass_draws_every_sample_once(size: int, epoch: int) -> None:
    assert sorted(drawn(size, size=size, first=epoch * size)) == list(range(size))


def test_passes_pools_and_seeds_have_different_orders() -> None:
    orders = [
        drawn(100, size=100),
        drawn(100, size=100, first=100),
        drawn(100, size=100, pool="walkers"),
        drawn(100, size=100, seed=4),
        list(range(100)),
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_the_order_is_uniform() -> None:
    """Chi-square of which of 10 samples comes first, over 3000 seeds."""
    first = np.bincount([drawn(1, size=10, seed=seed)[0] for seed in range(3000)], minlength=10)
    assert ((first - 300) ** 2 / 300).sum() < 28  # 9 degrees of freedom: 0.1 %


def test_streams_do_not_overlap() -> None:
    names = [(seed, stream, counter) for seed in (0, 1) for stream in ("a", "b") for counter in (0, 1, 2**63)]
    numbers = {name: counter_generator(*name).integers(2**63, size=50).tolist() for name in names}
    assert len({number for some in numbers.values() for number in some}) == 50 * len(names)


def test_the_global_generator_is_not_changed() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    drawn(30, size=10)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]
