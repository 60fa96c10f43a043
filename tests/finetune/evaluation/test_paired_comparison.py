import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.paired_comparison import PairedComparison, compare
from driveforge.finetune.evaluation.results import Evaluation
from tests.finetune.evaluation.synthetic_evaluations import evaluation

LOWER, HIGHER = "moving_objects/ade", "next_frame/psnr"


def compare_orbit(before: Evaluation, after: Evaluation, measure: str = LOWER) -> PairedComparison:
    return compare(before, after, measure=measure, domains={"orbit"}, label="orbit", confidence=0.95)


def test_the_change_is_over_the_same_clips() -> None:
    before = evaluation({("orbit", LOWER): [1.0, 2.0, 3.0], ("walkers", LOWER): [9.0]})
    after = evaluation({("orbit", LOWER): [1.5, 2.5, 5.0], ("walkers", LOWER): [0.1]})
    change = compare_orbit(before, after).change
    assert change is not None
    assert (change.before, change.after, change.difference) == (2.0, 3.0, 1.0)
    assert change.regression == pytest.approx(0.5)
    assert change.regression_bounds[0] < 0.5 < change.regression_bounds[1]
    assert change.difference_bounds[0] < 1.0 < change.difference_bounds[1]


@pytest.mark.parametrize(("measure", "regression"), [(LOWER, -0.5), (HIGHER, 0.5)])
def test_the_sign_of_a_regression_depends_on_the_measure(measure: str, regression: float) -> None:
    change = compare_orbit(
        evaluation({("orbit", measure): [2.0, 4.0]}), evaluation({("orbit", measure): [1.0, 2.0]}), measure
    ).change
    assert change is not None
    assert change.regression == pytest.approx(regression)
    assert change.difference == -1.5


def test_several_domains_are_compared_together() -> None:
    before = evaluation({("driving-day", HIGHER): [1.0], ("driving-dusk", HIGHER): [3.0], ("orbit", HIGHER): [50.0]})
    together = compare(
        before, before, measure=HIGHER, domains={"driving-day", "driving-dusk"}, label="driving", confidence=0.9
    )
    assert (together.domain, together.num_pairs) == ("driving", 2)
    assert together.change is not None and together.change.before == 2.0


def test_a_clip_without_a_pair_is_excluded_with_its_reason() -> None:
    before = evaluation({("orbit", LOWER): [1.0, None, 3.0, 4.0, 5.0]})
    after = evaluation({("orbit", LOWER): [1.0, 2.0, None, None]})
    paired = compare_orbit(before, after)
    assert paired.num_pairs == 1
    assert paired.excluded == (
        ("orbit-1", "before: hidden"),
        ("orbit-2", "after: hidden"),
        ("orbit-3", "after: hidden"),
        ("orbit-4", "after: not evaluated"),
    )
    assert paired.lost == ("orbit-2", "orbit-3", "orbit-4")


def test_without_pairs_there_is_no_change() -> None:
    paired = compare_orbit(evaluation({("orbit", LOWER): [None]}), evaluation({("orbit", LOWER): [1.0]}))
    assert (paired.num_pairs, paired.change) == (0, None)


def test_a_regression_from_zero_is_unbounded_and_no_change_is_zero() -> None:
    zeros, some = evaluation({("orbit", LOWER): [0.0] * 9}), evaluation({("orbit", LOWER): [0.0] * 8 + [1.0]})
    from_zero, unchanged = compare_orbit(zeros, some).change, compare_orbit(zeros, zeros).change
    assert from_zero is not None and unchanged is not None
    assert from_zero.regression_bounds == (-np.inf, np.inf) and from_zero.regression == np.inf
    assert unchanged.regression_bounds == (0.0, 0.0)


def test_evaluations_of_different_protocols_are_not_compared() -> None:
    one, other = (evaluation({("orbit", LOWER): [1.0]}, protocol=name) for name in ("17 frames", "33 frames"))
    with pytest.raises(UserError, match="17 frames and 33 frames"):
        compare_orbit(one, other)
