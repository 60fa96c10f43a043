"""A measure that is added in two files, its function and its row of the catalog, works in every stage."""

from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.pipelines.plots.captions import caption_lines
from driveforge.pipelines.plots.limits import plot_limits
from driveforge.pipelines.plots.measured_clip import plot_measured_clip
from driveforge.pipelines.review.clip_detail import describe_measures
from driveforge.pipelines.validate.calibrate import limits_table
from driveforge.pipelines.validate.measure import summary_table
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.measure_definition import MeasureDefinition
from driveforge.validation.measures import measure, measure_clip
from driveforge.validation.records import Measure, Measures, make_measure, make_unmeasurable
from driveforge.validation.units import Unit
from driveforge.validation.verdict import judge
from tests.validation.street import street

NAME = "time_red"
NOT_RED = "nothing red in view"
RED_LEVELS = Unit(symbol="red levels", floor=1.0, suffix=" levels", short_suffix=" levels")


def red_measure(tracked: TrackedView) -> Measure:
    """The largest mean of the red channel."""
    red = tracked.view.frames[..., 0].mean((1, 2))
    if red.max() == 0:
        return make_unmeasurable(NAME, NOT_RED)
    return make_measure(NAME, float(red.max()), [int(red.argmax())])


def undeclared_measure(tracked: TrackedView) -> Measure:
    return make_measure("time_blue", 1.0)


def definition(function: str) -> MeasureDefinition:
    return MeasureDefinition(
        name=NAME,
        family="time",
        unit=RED_LEVELS,
        code="TIME_RED",
        description="the image turns red",
        function=function,
        caption="reddest frame",
        not_applicable=(NOT_RED,),
    )


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of the catalog, for the time of one test."""
    monkeypatch.setitem(DEFINITIONS, NAME, definition(f"{__name__}:red_measure"))


def tinted(clip: Clip, factor: float) -> Clip:
    frames = clip.frames.astype(np.float64) * [factor, 1.0, 1.0]
    return Clip(scene=clip.scene, frames=np.clip(frames, 0, 255).astype(np.uint8))


def good_measures() -> list[Measures]:
    return [measure(tinted(street(seed=seed, num_frames=5, height=48, width=80), 0.3)) for seed in range(20)]


@pytest.mark.usefixtures("row")
def test_a_measure_in_two_files_is_measured_calibrated_gated_and_drawn(tmp_path: Path) -> None:
    clip = street(num_frames=5, height=48, width=80)
    measured = measure_clip(clip)
    assert measured.measures[NAME].unit == "red levels"
    assert NAME in table_cells(summary_table([measured.measures]))
    assert any(line.text == "reddest frame" for line in caption_lines(measured.measures, None))

    calibration = calibrate(good_measures(), name="streets", false_reject_rate=0.1)
    assert NAME in [model.measure for model in calibration.tail_models]
    assert NAME in table_cells(limits_table(calibration))
    plot_limits(tmp_path / "limits.png", calibration)
    assert (tmp_path / "limits.png").stat().st_size > 0

    red = tinted(clip, 10.0)
    red_clip = measure_clip(red)
    verdict = judge(red_clip.measures, calibration)
    reason = next(reason for reason in verdict.reasons if reason.code == "TIME_RED")
    assert verdict.state == "rejected" and "the image turns red (time_red " in reason.text and " levels" in reason.text
    assert any(line.bold == "Time red" for line in caption_lines(red_clip.measures, verdict))
    rows = describe_measures(red_clip.measures, calibration, [reason.measure for reason in verdict.reasons])
    assert any(row["name"] == NAME and row["is_reason"] and "levels" in row["value_text"] for row in rows)
    assert plot_measured_clip(red, red_clip, calibration)


@pytest.mark.usefixtures("row")
def test_a_row_declares_for_which_reasons_its_measure_does_not_apply() -> None:
    colorless = measure(tinted(street(num_frames=5, height=48, width=80), 0.0))
    assert colorless[NAME].reason == NOT_RED and not colorless[NAME].is_applicable


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (f"{__name__}:no_such_function", "there is no function"),
        (f"{__name__}:undeclared_measure", "time_blue is not a measure: validation/measure_tables has no row for it"),
        (
            "driveforge.validation.temporal:track_loss_measure",
            "returned time_track_loss, but .* lists time_red, time_track_loss",
        ),
    ],
)
def test_a_row_that_does_not_fit_its_function_is_a_clear_error(
    function: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFINITIONS, NAME, definition(function))
    with pytest.raises(UserError, match=message):
        measure(street(num_frames=5, height=48, width=80))


def test_a_family_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="family 'smell' is not one of tracks, pose"):
        MeasureDefinition(
            name=NAME, family="smell", unit=RED_LEVELS, code="SMELL", description="it smells", function="a:b"
        )


def table_cells(table: object) -> list[str]:
    return [str(cell) for column in table.columns for cell in column.cells]  # type: ignore[attr-defined]
