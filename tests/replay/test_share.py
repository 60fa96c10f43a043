from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.errors import UserError
from driveforge.replay.adaptive_share import AdaptiveShare
from driveforge.replay.share import FixedShare, LinearShare, SteppedShare

shares = st.decimals(0, 1, places=3).map(float)


@settings(max_examples=60, deadline=None)
@given(first=shares, last=shares, steps=st.integers(2, 30))
def test_a_linear_share_changes_by_equal_steps_then_stays(first: float, last: float, steps: int) -> None:
    line = LinearShare(first, last, steps)
    found = [line.cumulative_share(step + 1) - line.cumulative_share(step) for step in range(steps + 3)]
    assert found[0] == Fraction(str(first)) and set(found[steps - 1 :]) == {Fraction(str(last))}
    assert len({b - a for a, b in pairwise(found[:steps])}) == 1
    assert (line.min_share, line.max_share) == (min(found), max(found))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(1, 20), shares, max_size=5), shares)
def test_a_stepped_share_holds_until_the_next(changes: dict[int, float], first: float) -> None:
    changes = {0: first} | changes
    stepped = SteppedShare(tuple(sorted(changes.items())))
    for step in range(25):
        wanted = changes[max(start for start in changes if start <= step)]
        assert stepped.cumulative_share(step + 1) - stepped.cumulative_share(step) == Fraction(str(wanted))
    assert (float(stepped.min_share), float(stepped.max_share)) == (min(changes.values()), max(changes.values()))


def test_an_invalid_share_is_an_error() -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="must be between 0 and 1"):
            FixedShare(share)
        with pytest.raises(UserError, match="must be between 0 and 1"):
            SteppedShare(((0, 0.5), (3, share)))
    with pytest.raises(UserError, match="2 steps or more"):
        LinearShare(0.1, 0.2, 1)
    for steps in ((), (1,), (0, 5, 5), (0, 7, 3)):
        with pytest.raises(UserError, match="must increase from 0"):
            SteppedShare(tuple((step, 0.5) for step in steps))


def test_the_worst_domain_moves_the_share() -> None:
    control = AdaptiveShare(tolerance=0.1)
    assert control.next_share(0.2, {"orbit": 0.11, "falling": -0.5}) == 0.3
    assert control.next_share(0.3, {"orbit": 0.04, "falling": -0.5}) == 0.2
    assert control.next_share(0.2, {"orbit": 0.06, "falling": -0.5}) == 0.2, "within the dead band"
    assert control.next_share(0.2, {"orbit": float("nan"), "falling": -0.5}) == 0.3


def test_the_share_keeps_its_limits() -> None:
    control, high, low = AdaptiveShare(tolerance=0.1), 0.2, 0.2
    for _ in range(20):
        high, low = control.next_share(high, {"orbit": 1.0}), control.next_share(low, {"orbit": -1.0})
    assert (high, low) == (control.max_share, control.min_share)
    assert control.next_share(0.0, {"orbit": 1.0}) == control.min_share


def test_an_invalid_controller_is_an_error() -> None:
    with pytest.raises(UserError, match="tolerance 0 must be above 0"):
        AdaptiveShare(tolerance=0)
    with pytest.raises(UserError, match="0 < min_share <= max_share <= 1"):
        AdaptiveShare(tolerance=0.1, min_share=0.5, max_share=0.2)
    with pytest.raises(UserError, match="measured no domain"):
        AdaptiveShare(tolerance=0.1).next_share(0.2, {})
