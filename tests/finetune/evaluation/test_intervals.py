import numpy as np
import pytest

from driveforge.finetune.evaluation.intervals import ratio_interval

ONES = np.ones(12)


def test_bounds_have_the_stated_coverage() -> None:
    samples = np.random.default_rng(0).normal(3.0, 1.0, (240, 12))
    bounds = np.array([ratio_interval(sample, ONES, 0.9, seed=0) for sample in samples])
    below, above = (bounds[:, 1] < 3.0).mean(), (bounds[:, 0] > 3.0).mean()
    assert 0.05 < below < 0.15 and 0.05 < above < 0.15


def test_the_bound_on_the_side_of_outliers_is_further_off() -> None:
    regressions = np.array([0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 6.0])
    low, high = ratio_interval(regressions, ONES, 0.95, seed=0)
    symmetric = 1.8 * regressions.std(ddof=1) / np.sqrt(12)
    assert high - regressions.mean() > 2 * symmetric > regressions.mean() - low


def test_an_interval_depends_on_the_seed_and_scales_with_the_unit() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=12)
    first = ratio_interval(values, ONES, 0.95, seed=3)
    assert first == ratio_interval(values, ONES, 0.95, seed=3) != ratio_interval(values, ONES, 0.95, seed=4)
    assert ratio_interval(1000 * values, ONES, 0.95, seed=3) == pytest.approx(tuple(1000 * b for b in first))
    assert ratio_interval(-values, ONES, 0.95, seed=3) == pytest.approx((-first[1], -first[0]), rel=1e-3)
    assert ratio_interval(values, 2 * ONES, 0.95, seed=3) == pytest.approx((first[0] / 2, first[1] / 2))


def test_proportional_values_have_an_exact_ratio() -> None:
    base = np.random.default_rng(2).gamma(2.0, size=12)
    assert ratio_interval(0.3 * base, base, 0.95, seed=0) == pytest.approx((0.3, 0.3))


def test_more_clips_give_a_shorter_interval() -> None:
    sample = np.random.default_rng(3).normal(size=96)
    widths = [np.subtract(*ratio_interval(sample[:n], np.ones(n), 0.95, seed=0)[::-1]) for n in (6, 24, 96)]
    assert widths[0] > widths[1] > widths[2] > 0


@pytest.mark.parametrize("values", [[5.0], [1.0, 2.0], [0.0] * 5 + [1.0]])
def test_too_few_values_have_an_infinite_bound(values: list[float]) -> None:
    assert ratio_interval(np.array(values), np.ones(len(values)), 0.95, seed=0)[1] == np.inf
