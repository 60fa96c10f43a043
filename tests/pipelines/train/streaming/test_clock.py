"""The schedule over time ends annealed on any machine."""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from driveforge.pipelines.train.streaming.clock import FINAL_FACTOR, learning_rate_factor, timed_steps

DURATIONS = st.lists(st.floats(0.001, 50), min_size=1, max_size=30)


def ticking(durations: list[float]) -> tuple[list[float], Callable[[], float]]:
    """A clock that ``advance`` moves, and that stands still otherwise."""
    time = [1000.0]
    return time, lambda: time[0]


def run(budget: float, durations: list[float], elapsed: float = 0.0) -> list[tuple[float, float]]:
    """(elapsed, progress) of all steps, if steps take ``durations`` in turn."""
    time, now = ticking(durations)
    steps = []
    for step in timed_steps(budget, elapsed, now):
        steps.append(step)
        time[0] += durations[len(steps) % len(durations)]
        if len(steps) > 10_000:
            break
    return steps


@given(st.floats(0.5, 100), DURATIONS)
def test_the_last_step_is_annealed_for_steps_of_any_duration(budget: float, durations: list[float]) -> None:
    steps = run(budget, [max(d, budget / 200) for d in durations])
    assert learning_rate_factor(steps[-1][1], len(steps), 1) == FINAL_FACTOR
    assert all(0 <= progress <= 1 for _, progress in steps)
    assert all(elapsed < budget for elapsed, _ in steps[:-1])


@given(st.floats(0.01, 0.05))
def test_a_resumed_run_continues_where_it_was(step_s: float) -> None:
    steps = run(10.0, [step_s], elapsed=7.0)
    assert steps[0][0] == 7.0 and abs(steps[0][1] - 0.7) < 0.01
    assert len(steps) <= 3 / step_s + 2


def test_the_rate_warms_up_then_is_constant_then_falls() -> None:
    assert learning_rate_factor(0.0, 0, 10) == 0.1
    assert learning_rate_factor(0.1, 50, 10) == learning_rate_factor(0.5, 50, 10) == 1.0
    late = [learning_rate_factor(p / 100, 50, 10) for p in range(50, 101)]
    assert all(b <= a for a, b in pairwise(late)) and late[-1] == FINAL_FACTOR
    assert learning_rate_factor(1.0, 0, 0) == FINAL_FACTOR, "without warm-up"
