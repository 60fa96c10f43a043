"""The command ``report`` on a small run of the fake generator."""

import math
from pathlib import Path

import pyarrow.parquet
import pytest

from driveforge.pipelines import cli
from driveforge.pipelines.report.outcomes import read_outcomes
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import gate
from driveforge.validation.cross_conformal import calibrate
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.small_plans import generate_small


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights") / "monday"
    generate_small(folder / "candidates")
    calibrate(some_measures(60), name="by hand", false_reject_rate=0.05).save(folder / "calibration.json")
    gate(RunDir(folder), folder / "calibration.json")
    return folder


def test_every_candidate_has_an_outcome_with_its_conditions_and_cost(run_dir: Path) -> None:
    outcomes = read_outcomes(run_dir)
    assert len(outcomes) == 12 and {outcome.edit for outcome in outcomes} == {
        "as-recorded", "dusk", "slower", "agent-shifts",
    }  # fmt: skip
    for outcome in outcomes:
        assert outcome.seconds > 0 and outcome.finished_at.endswith("+00:00")
        assert outcome.speed and outcome.turn_rate and outcome.nearest_object
    assert {outcome.time_of_day for outcome in outcomes if outcome.edit == "dusk"} == {"dusk"}


def test_reports_are_written_beside_the_run_and_printed(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "yield", str(run_dir)]) == 0
    assert "yield.html" in capsys.readouterr().out
    table = pyarrow.parquet.read_table(run_dir / "yield.parquet").to_pylist()
    assert table[0]["condition"] == "all" and table[0]["num_clips"] == 12
    assert not math.isnan(table[0]["seconds_per_accepted"])
    assert cli.main(["show", "generate", "--config", str(run_dir / "yield-edits.yaml")]) == 0
    assert "yield-edits.yaml" in capsys.readouterr().out
    assert "yield.png" in (run_dir / "yield.html").read_text() and (run_dir / "yield.png").stat().st_size > 5000
    assert cli.main(["report", "ledger", str(run_dir), "--out", str(run_dir / "reports")]) == 0
    assert {path.name for path in (run_dir / "reports").iterdir()} == {"ledger.html", "ledger.parquet", "ledger.png"}


def test_a_run_that_was_not_judged_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "yield", str(tmp_path / "no-run")]) == 2
    assert "holds no run" in capsys.readouterr().err
    generate_small(tmp_path / "run" / "candidates")
    assert cli.main(["report", "yield", str(tmp_path / "run")]) == 2
    assert "run `driveforge gate` first" in capsys.readouterr().err


def test_runs_of_one_name_are_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "yield", str(run_dir), str(run_dir)]) == 2
    assert "same name" in capsys.readouterr().err
