import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.paired_comparison import PairedComparison, compare
from driveforge.finetune.evaluation.results import Evaluation
from tests.finetune.evaluation.probes import evaluation

LESS, MORE = "moving_objects/ade", "next_frame/psnr"


def orbit(before: Evaluation, after: Evaluation, measure: str = LESS) -> PairedComparison:
    return compare(before, after, measure=measure, domains={"orbit"}, label="orbit", confidence=0.95)


def test_the_change_is_that_of_the_same_clips() -> None:
    before = evaluation({("orbit", LESS): [1.0, 2.0, 3.0], ("walkers", LESS): [9.0]})
    after = evaluation({("orbit", LESS): [1.5, 2.5, 5.0], ("walkers", LESS): [0.1]})
    change = orbit(before, after).change
    assert change is not None
    assert (change.before, change.after, change.difference) == (2.0, 3.0, 1.0)
    assert change.regression == pytest.approx(0.5)
    assert change.regression_bounds[0] < 0.5 < change.regression_bounds[1]
    assert change.difference_bounds[0] < 1.0 < change.difference_bounds[1]


@pytest.mark.parametrize(("measure", "regression"), [(LESS, -0.5), (MORE, 0.5)])
def test_which_way_is_worse_depends_on_the_measure(measure: str, regression: float) -> None:
    change = orbit(
        evaluation({("orbit", measure): [2.0, 4.0]}), evaluation({("orbit", measure): [1.0, 2.0]}), measure
    ).change
    assert change is not None
    assert change.regression == pytest.approx(regression)
    assert change.difference == -1.5


def test_domains_may_be_taken_together() -> None:
    before = evaluation({("driving-day", MORE): [1.0], ("driving-dusk", MORE): [3.0], ("orbit", MORE): [50.0]})
    together = compare(
        before, before, measure=MORE, domains={"driving-day", "driving-dusk"}, label="driving", confidence=0.9
    )
    assert (together.domain, together.num_pairs) == ("driving", 2)
    assert together.change is not None and together.change.before == 2.0


def test_a_clip_without_a_pair_is_told_with_its_reason() -> None:
    before = evaluation({("orbit", LESS): [1.0, None, 3.0, 4.0, 5.0]})
    after = evaluation({("orbit", LESS): [1.0, 2.0, None, None]})
    paired = orbit(before, after)
    assert paired.num_pairs == 1
    assert paired.excluded == (
        ("orbit-1", "before: hidden"),
        ("orbit-2", "after: hidden"),
        ("orbit-3", "after: hidden"),
        ("orbit-4", "after: not probed"),
    )
    assert paired.lost == ("orbit-2", "orbit-3", "orbit-4")


def test_without_pairs_there_is_no_change() -> None:
    paired = orbit(evaluation({("orbit", LESS): [None]}), evaluation({("orbit", LESS): [1.0]}))
    assert (paired.num_pairs, paired.change) == (0, None)


def test_a_fall_from_nothing_has_no_bounds_and_no_fall_has_none_to_show() -> None:
    zeros, some = evaluation({("orbit", LESS): [0.0] * 9}), evaluation({("orbit", LESS): [0.0] * 8 + [1.0]})
    from_nothing, to_nothing = orbit(zeros, some).change, orbit(zeros, zeros).change
    assert from_nothing is not None and to_nothing is not None
    assert from_nothing.regression_bounds == (-np.inf, np.inf) and from_nothing.regression == np.inf
    assert to_nothing.regression_bounds == (0.0, 0.0)


def test_other_protocols_are_not_compared() -> None:
    one, other = (evaluation({("orbit", LESS): [1.0]}, protocol=name) for name in ("17 frames", "33 frames"))
    with pytest.raises(UserError, match="17 frames and 33 frames"):
        orbit(one, other)
