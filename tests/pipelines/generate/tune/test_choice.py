"""The choice among results whose clips are given."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from driveforge.pipelines.generate.tune.choice import difference_p_value, pareto_front, recommend, share_interval
from driveforge.pipelines.generate.tune.report import explain_choice
from driveforge.pipelines.generate.tune.search import JudgedClip, TrialResult
from driveforge.validation.verdict import Verdict
from tests.defaults import sampler_settings


@dataclass(frozen=True)
class FakeClip:
    state: str
    seconds: float

    @property
    def verdict(self) -> Verdict:
        return Verdict(clip_id="a", state=cast(Any, self.state), reasons=(), calibration="by hand")


def result(accepted: str, seconds: float, is_current: bool = False, steps: int = 4) -> TrialResult:
    """A result whose clips are accepted where ``accepted`` has a +; the first takes ten times as long."""
    states = ["accepted" if sign == "+" else "rejected" for sign in accepted]
    clips = tuple(FakeClip(state, seconds * (1 if n else 10)) for n, state in enumerate(states))
    settings = sampler_settings(num_steps=steps)
    return TrialResult(settings=settings, is_current=is_current, clips=cast(tuple[JudgedClip, ...], clips))


def test_intervals_are_those_of_wilson() -> None:
    # Newcombe (1998), Two-sided confidence intervals for the single proportion, table I: 81 of 263 and 15 of 148.
    low, high = share_interval(result("+" * 81 + "-" * 182, 1.0))
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = share_interval(result("+" * 15 + "-" * 133, 1.0))
    assert (round(low, 4), round(high, 4)) == (0.0624, 0.1605)


def test_settings_are_compared_clip_by_clip() -> None:
    good = result("+" * 12, 1.0)
    assert difference_p_value(good, good) == 1.0
    assert difference_p_value(good, result("-" * 5 + "+" * 7, 1.0)) == pytest.approx(2 * 0.5**5)
    assert difference_p_value(result("++++----", 1.0), result("----++++", 1.0)) == pytest.approx(1.0)


def test_the_front_has_the_settings_that_none_beats_in_both() -> None:
    fast, slow, best = result("+---", 0.1), result("++--", 2.0), result("+++-", 1.0)
    worse, equal = result("+---", 0.2), result("+++-", 3.0)
    assert pareto_front([slow, best, worse, equal, fast]) == [fast, best]
    assert recommend([slow, best, worse, equal, fast]) is best
    assert recommend([result("----", 1.0)]) is None
    assert fast.seconds == pytest.approx(0.1), "the median, which one slow clip does not change"


def test_the_explanation_says_what_is_within_chance() -> None:
    current, best, fast = (
        result("+" * 9 + "-" * 3, 2.0, True),
        result("+" * 11 + "-", 1.0),
        result("+" * 10 + "--", 0.5, steps=2),
    )
    lines = list(explain_choice([current, best, fast], best))
    assert lines[0] == (
        "the current setting accepts 9 of 12 at 2 s per clip; the difference is within chance (p = 0.5)"
    )
    assert lines[1].startswith("faster, and within chance of it: 2 steps from 0.5, guidance 2, 10 of 12 at 0.5 s")
    assert "tune.num_clips=48" in lines[2]
    poor = result("-" * 12, 2.0, True)
    assert list(explain_choice([poor, best], best)) == [
        "the current setting accepts 0 of 12 at 2 s per clip; the difference is more than chance (p = 0.00098)"
    ]
    assert list(explain_choice([current], current)) == ["it is the current setting"]
