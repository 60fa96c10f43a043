"""The simulation against closed forms and against real sleeping processes."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.scale.actors import unit_seconds
from driveforge.pipelines.studies.scale.settings import ScaleStudy
from driveforge.pipelines.studies.scale.simulation import Cluster, simulate
from driveforge.pipelines.studies.scale.study import study_scale

IDEAL = Cluster(workers=5, unit=10.0, spread=0.0, start=0.0, mtbf=1e15, failure_rate=0.0, commit=0.0, driver=0.0)


def test_an_ideal_cluster_works_all_the_time() -> None:
    outcome = simulate(IDEAL, 1000.0, seed=0)
    assert outcome.units == 5 * 100 and outcome.working == pytest.approx(5000.0)
    assert (outcome.lost, outcome.waiting, outcome.driver) == (0.0, 0.0, 0.0)


def test_every_second_of_every_worker_is_accounted_for() -> None:
    cluster = replace(IDEAL, spread=0.3, start=20.0, mtbf=2000.0, failure_rate=0.05, commit=0.5, driver=0.02)
    outcome = simulate(cluster, 50_000.0, seed=1)
    parts = (outcome.working, outcome.committing, outcome.starting, outcome.waiting, outcome.lost)
    # The driver's own time is waited for; what runs at the end is not counted.
    assert sum(parts) == pytest.approx(5 * 50_000.0, rel=0.003)
    assert outcome.failures == pytest.approx(0.05 * outcome.units, rel=0.15)


def test_lost_time_is_that_of_the_closed_form() -> None:
    # A unit of u s on a worker with rate r of deaths loses, on average, (e^(ru) - 1) / r - u s and e^(ru) - 1 starts.
    outcome = simulate(replace(IDEAL, mtbf=40.0, start=3.0), 400_000.0, seed=2)
    deaths_per_unit = math.expm1(10 / 40)
    assert outcome.deaths / outcome.units == pytest.approx(deaths_per_unit, rel=0.02)
    assert outcome.lost / outcome.units == pytest.approx(40 * deaths_per_unit - 10, rel=0.05)


def test_a_saturated_driver_sets_the_rate() -> None:
    outcome = simulate(replace(IDEAL, workers=100, driver=0.5), 5000.0, seed=0)
    assert outcome.driver > 0.99 and outcome.units == pytest.approx(2 * 5000, rel=0.01)


def test_units_have_the_mean_and_spread_that_was_asked_for() -> None:
    seconds = unit_seconds(20_000, 2.0, 0.25, seed=3)
    mean = sum(seconds) / len(seconds)
    assert mean == pytest.approx(2.0, rel=0.01)
    assert (sum((s - mean) ** 2 for s in seconds) / len(seconds)) ** 0.5 == pytest.approx(0.5, rel=0.03)


@pytest.mark.slow
def test_the_study_checks_itself_against_real_actors(tmp_path: Path) -> None:
    changes = ["actors=3", "real_units=4", "real_seconds=0.5", "gpus=[1,4]", "days=0.1", f"run_dir={tmp_path / 'run'}"]
    study_scale(load_settings(ScaleStudy, changes), tmp_path / "scale.md")
    page = (tmp_path / "scale.md").read_text()
    assert "3 Ray actors" in page and "saturates first" in page
    assert (tmp_path / "scale.png").stat().st_size > 10_000
