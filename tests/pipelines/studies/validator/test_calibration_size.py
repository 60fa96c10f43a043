"""The section of the validator study on calibrations from few clips."""

from driveforge.pipelines.studies.validator.calibration_size import CASES, calibration_size_section, evaluate_size
from driveforge.pipelines.studies.validator.trials import Trial
from driveforge.validation.records import Measures
from tests.pipelines.measure_sets import some_measures


def trial(measures: Measures, corruption_type: str = "", level: str = "") -> Trial:
    return Trial(
        number=0,
        rows=256,
        condition="usual",
        variant="day",
        corruption_type=corruption_type,
        level=level,
        measures=measures,
        baselines={},
        seconds=0.0,
    )


GOOD = [trial(measures) for measures in some_measures(150)]
BAD = [trial(measures, *CASES[0]) for measures in some_measures(10, scale=5.0, prefix="bad")]
MISSED = [trial(measures, *CASES[3]) for measures in some_measures(10, seed=1, prefix="missed")]


def test_detection_and_false_rejects_are_those_of_clips_outside_the_calibration() -> None:
    result = evaluate_size([*GOOD, *BAD, *MISSED], 72, 0.05, num_draws=3, seed=0)
    assert result.detected[CASES[0]] == (1.0, 1.0)
    assert result.detected[CASES[3]][0] < 0.3
    assert result.detected.keys() == {CASES[0], CASES[3]}
    assert 0 < result.false_rejects[0] < 0.15 and result.false_rejects[0] <= result.false_rejects[1]
    assert 0 < result.audited < 0.15


def test_the_section_has_a_column_for_every_possible_size() -> None:
    assert "72 clips, 5% | 109 clips, 1%" in calibration_size_section([*GOOD, *BAD], num_draws=1, seed=0)
    text = calibration_size_section([*GOOD[:90], *BAD], num_draws=2, seed=0)
    assert "72 clips, 5% |" in text and "109" not in text.split("Each column")[0]
    assert "| yaw-rate between | 100% (100%) |" in text
    assert "Too few good clips" in calibration_size_section(GOOD[:30], num_draws=1, seed=0)
