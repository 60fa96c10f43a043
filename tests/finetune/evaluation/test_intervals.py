import numpy as np
import pytest

from driveforge.finetune.evaluation.intervals import ratio_interval

ONES = np.ones(12)


def test_a_bound_misses_the_true_mean_about_as_often_as_it_says() -> None:
    noise_sample = np.random.default_rng(0).normal(3.0, 1.0, (240, 12))
    bounds = np.array([ratio_interval(draw, ONES, 0.9, seed=0) for draw in noise_sample])
    below, above = (bounds[:, 1] < 3.0).mean(), (bounds[:, 0] > 3.0).mean()
    assert 0.05 < below < 0.15 and 0.05 < above < 0.15


def test_a_bound_on_the_side_of_rare_large_falls_reaches_far() -> None:
    falls = np.array([0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 6.0])
    low, high = ratio_interval(falls, ONES, 0.95, seed=0)
    symmetric = 1.8 * falls.std(ddof=1) / np.sqrt(12)
    assert high - falls.mean() > 2 * symmetric > falls.mean() - low


def test_one_seed_gives_one_interval_and_units_do_not_matter() -> None:
    numbers = np.random.default_rng(1).gamma(2.0, size=12)
    first = ratio_interval(numbers, ONES, 0.95, seed=3)
    assert first == ratio_interval(numbers, ONES, 0.95, seed=3) != ratio_interval(numbers, ONES, 0.95, seed=4)
    assert ratio_interval(1000 * numbers, ONES, 0.95, seed=3) == pytest.approx(tuple(1000 * b for b in first))
    assert ratio_interval(-numbers, ONES, 0.95, seed=3) == pytest.approx((-first[1], -first[0]), rel=1e-3)
    assert ratio_interval(numbers, 2 * ONES, 0.95, seed=3) == pytest.approx((first[0] / 2, first[1] / 2))


def test_what_is_in_proportion_has_a_certain_ratio() -> None:
    base = np.random.default_rng(2).gamma(2.0, size=12)
    assert ratio_interval(0.3 * base, base, 0.95, seed=0) == pytest.approx((0.3, 0.3))


def test_more_clips_say_more() -> None:
    draw = np.random.default_rng(3).normal(size=96)
    widths = [np.subtract(*ratio_interval(draw[:n], np.ones(n), 0.95, seed=0)[::-1]) for n in (6, 24, 96)]
    assert widths[0] > widths[1] > widths[2] > 0


@pytest.mark.parametrize("numbers", [[5.0], [1.0, 2.0], [0.0] * 5 + [1.0]])
def test_too_little_is_known_of_almost_nothing(numbers: list[float]) -> None:
    assert ratio_interval(np.array(numbers), np.ones(len(numbers)), 0.95, seed=0)[1] == np.inf
