"""The validator study: what each measure detects in isolation."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.pipelines.studies.validator.results import evaluate
from driveforge.pipelines.studies.validator.single_measures import (
    CAMERA_FAMILIES,
    SINGLE_CAMERA_FAMILIES,
    evaluate_measures,
    measures_section,
)
from driveforge.pipelines.studies.validator.trials import Trial
from driveforge.validation.calibration import Calibration
from driveforge.validation.records import Measures, make_unmeasurable
from tests.pipelines.measure_sets import some_measures

NUM_GOOD, NUM_AUDIT, NUM_CORRUPTED = 100, 30, 10  # the 1 % of the study need 99 good clips


def trial(measures: Measures, corruption_type: str = "", level: str = "", **factors: float) -> Trial:
    """A trial in which the named measures are multiplied by a factor."""
    values = tuple(
        m if m.value is None else replace(m, value=factors.get(m.name, 1.0) * m.value) for m in measures.values
    )
    return Trial(
        number=0,
        rows=64,
        condition="usual",
        variant="day",
        corruption_type=corruption_type,
        level=level,
        measures=replace(measures, values=values),
        baselines={},
        seconds=0.1,
    )


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Strong yaw rates raise one measure, a strong boil another one; mild corruptions change nothing."""
    clips = some_measures(NUM_GOOD + NUM_AUDIT + NUM_CORRUPTED)
    good, bad = clips[: NUM_GOOD + NUM_AUDIT], clips[NUM_GOOD + NUM_AUDIT :]
    return [
        *(trial(m) for m in good),
        *(trial(m, "yaw-rate", "strong", pose_yaw=20.0) for m in bad),
        *(trial(m, "boil", "strong", time_track_loss=4.0) for m in bad),
        *(trial(m, "freeze", "strong") for m in bad),
        *(trial(m, "swap", "mild", pose_yaw=20.0) for m in bad),
    ]


@pytest.fixture(scope="module")
def limits(trials: list[Trial]) -> Calibration:
    return evaluate("64 rows", trials[: NUM_GOOD + NUM_AUDIT], NUM_GOOD).calibration


def test_each_measure_is_ranked_alone_and_only_strong_corruptions_count(
    trials: list[Trial], limits: Calibration
) -> None:
    results = {r.measure: r for r in evaluate_measures(trials, NUM_GOOD, limits, SINGLE_CAMERA_FAMILIES)}
    assert list(results) == ["track_epipolar", "pose_yaw", "time_track_loss"]  # in the order of the catalog
    yaw, loss, epipolar = (results[name].auroc for name in ("pose_yaw", "time_track_loss", "track_epipolar"))
    assert set(yaw) == {"yaw-rate", "boil", "freeze"}
    assert next(iter(yaw)) == "yaw-rate" and yaw["yaw-rate"] == 1.0 and yaw["boil"] == yaw["freeze"] < 0.8
    assert next(iter(loss)) == "boil" and loss["boil"] > 0.95
    assert len(set(epipolar.values())) == 1  # the same ten clips, with unchanged values
    audited = [t.measures["pose_yaw"].value for t in trials[NUM_GOOD : NUM_GOOD + NUM_AUDIT]]
    assert np.median(audited) < results["pose_yaw"].limit < 20 * np.median(audited)
    assert evaluate_measures(trials, NUM_GOOD, limits, CAMERA_FAMILIES) == []


def test_a_clip_without_a_value_counts_as_good(trials: list[Trial], limits: Calibration) -> None:
    lost = [
        replace(t, measures=replace(t.measures, values=(make_unmeasurable("pose_yaw", "too few tracks"),)))
        for t in trials
        if t.corruption_type == "yaw-rate"
    ]
    results = evaluate_measures([*trials[: NUM_GOOD + NUM_AUDIT], *lost], NUM_GOOD, limits, SINGLE_CAMERA_FAMILIES)
    assert next(r for r in results if r.measure == "pose_yaw").auroc == {"yaw-rate": 0.0}


def test_the_section_lists_three_corruptions_and_the_measures_without_limits(
    trials: list[Trial], limits: Calibration
) -> None:
    many = [*trials, *(replace(t, corruption_type="cut") for t in trials if t.corruption_type == "freeze")]
    results = evaluate_measures(many, NUM_GOOD, limits, SINGLE_CAMERA_FAMILIES)
    page = measures_section("64 rows", results)
    (row,) = [line for line in page.splitlines() if line.startswith("| `pose_yaw`")]
    assert "deg/s |" in row and "| yaw-rate 1.00, " in row and row.count(",") == 2
    assert "at 64 rows" in page
    missing = page.split("no limit in this study: ")[1]
    assert "`camera_depth`" in missing and "`object_residual`" in missing and "`pose_yaw`" not in missing
