"""Yields by condition, against counts by hand."""

import math
from dataclasses import replace

import pytest
from scipy.stats import beta

from driveforge.pipelines.report.outcomes import Outcome
from driveforge.pipelines.report.yields import Yield, compute_yields

CLIP = Outcome(
    run="tonight", clip_id="a", state="accepted", reasons=(), edit="slower", weather="dry", time_of_day="day",
    speed="5 to 10 m/s", turn_rate="under 2 deg/s", nearest_object="8 to 20 m", attempt="1", model="m1",
    seconds=3.0, gpu_seconds=1.5, finished_at="2026-01-02T00:00:00+00:00",
)  # fmt: skip


def clips(num_accepted: int, total: int, **changes: object) -> list[Outcome]:
    states = ["accepted"] * num_accepted + ["rejected"] * (total - num_accepted)
    return [replace(CLIP, clip_id=f"c-{n}", state=state, **changes) for n, state in enumerate(states)]  # type: ignore[arg-type]


def find(yields: list[Yield], condition: str, value: str = "") -> Yield:
    (row,) = (row for row in yields if (row.condition, row.value) == (condition, value))
    return row


def test_the_posterior_is_that_of_the_worked_line() -> None:
    yields = compute_yields([*clips(10, 22), *clips(0, 2, edit="dusk")])
    dusk, everything = find(yields, "edit", "dusk"), find(yields, "all")
    prior = 4 * 10.5 / 25
    assert dusk.mean == pytest.approx(prior / 6) == pytest.approx(0.28)
    assert (dusk.low, dusk.high) == pytest.approx(beta(prior, 4 - prior + 2).interval(0.9))
    assert (everything.num_clips, everything.num_accepted) == (24, 10)
    assert everything.mean == pytest.approx((prior + 10) / 28)


def test_rejected_clips_count_as_costs_of_the_accepted_ones() -> None:
    yields = compute_yields([*clips(2, 6), *clips(0, 3, edit="dusk")])
    assert find(yields, "edit", "slower").seconds_per_accepted == pytest.approx(6 * 3.0 / 2)
    assert find(yields, "edit", "slower").gpu_seconds_per_accepted == pytest.approx(6 * 1.5 / 2)
    assert find(yields, "edit", "dusk").seconds_per_accepted == math.inf
    assert math.isnan(find(compute_yields(clips(1, 2, seconds=math.nan)), "all").seconds_per_accepted)


def test_conditions_with_one_value_are_left_out_and_bins_are_in_order() -> None:
    speeds = ("10 to 15 m/s", "under 0.5 m/s", "15 m/s and more", "5 to 10 m/s")
    yields = compute_yields([clip for speed in speeds for clip in clips(1, 2, speed=speed)])
    assert {row.condition for row in yields} == {"all", "speed"}
    assert [row.value for row in yields[1:]] == ["under 0.5 m/s", "5 to 10 m/s", "10 to 15 m/s", "15 m/s and more"]


@pytest.mark.parametrize(("accepted", "total"), [(0, 5), (5, 5), (0, 0)])
def test_the_interval_is_proper_if_all_or_none_are_accepted(accepted: int, total: int) -> None:
    row = compute_yields(clips(accepted, total))[0]
    assert 0 < row.low < row.mean < row.high < 1
