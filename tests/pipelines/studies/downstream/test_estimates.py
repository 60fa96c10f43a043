"""Intervals of the downstream study."""

import numpy as np
import pytest

from driveforge.pipelines.studies.downstream.arms import Arm
from driveforge.pipelines.studies.downstream.estimates import HELPS, HURTS, UNCLEAR, difference, estimate
from driveforge.pipelines.studies.downstream.runs import RunResult


def test_equal_seeds_leave_the_bootstrap_and_equal_clips_leave_student() -> None:
    spread = np.array([-1.0, 1.0])
    over_clips = estimate(np.tile([0.5, *(0.5 + 0.1 * spread)], (5, 1)))
    assert over_clips.high - over_clips.mean == pytest.approx(1.96 * 0.1)
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    over_seeds = estimate(np.repeat(values[:, None], 3, 1))
    assert over_seeds.mean == pytest.approx(0.3)
    assert over_seeds.high - over_seeds.mean == pytest.approx(2.776 * values.std(ddof=1) / np.sqrt(5), rel=1e-3)


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        clips = rng.normal(0, 0.1, 50)
        seeds = rng.normal(0, 0.02, 5)
        draws = rng.multinomial(50, np.full(50, 1 / 50), 100) / 50
        values = seeds[:, None] + np.concatenate([[clips.mean()], draws @ clips])
        found = estimate(values)
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / 400 <= 0.999


def result(arm: Arm, seed: int, value: float) -> RunResult:
    return RunResult(arm=arm, seed=seed, metrics={"objects": np.full(4, value)})


def test_differences_are_paired_by_seed() -> None:
    real, added = Arm(what="real only"), Arm(what="accepted")
    levels = (0.2, 0.5, 0.3)
    results = [result(real, seed, level) for seed, level in enumerate(levels)]
    results += [result(added, seed, level + 0.1) for seed, level in reversed(list(enumerate(levels)))]
    found = difference(results, added, real, "objects")
    assert found.mean == pytest.approx(0.1) and found.low == pytest.approx(0.1) and found.verdict == HELPS
    assert difference(results, real, added, "objects").verdict == HURTS
    assert difference(results, real, real, "objects").verdict == UNCLEAR
