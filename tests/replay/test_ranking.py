from hypothesis import given
from hypothesis import strategies as st

from driveforge.replay.ranking import Ranking, compute_priority


@given(offers=st.lists(st.integers(0, 60)), quota=st.integers(1, 10))
def test_the_lowest_priorities_stay_once_each_with_their_first_location(offers: list[int], quota: int) -> None:
    ranking = Ranking()
    first: dict[int, int] = {}
    for location, priority in enumerate(offers):
        was_held = ranking.contains(priority)
        if ranking.insert(priority, location, quota):
            first[priority] = location
            assert not was_held
        assert list(ranking.priorities) == sorted(set(offers[: location + 1]))[:quota]
    assert list(ranking.locations) == [first[priority] for priority in ranking.priorities]


def test_priorities_depend_on_every_argument_and_fill_the_range() -> None:
    priorities = {compute_priority(seed, d, f"{n}") for seed in (0, 1) for d in ("a", "b") for n in range(1000)}
    assert len(priorities) == 4000
    assert abs(sum(priorities) / 4000 / 2**64 - 0.5) < 0.02
