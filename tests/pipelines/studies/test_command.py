"""The command line of a study: its settings, errors and help."""

from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.studies.command import load_settings, run_study
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.validator.settings import ValidatorStudy


def test_settings_come_from_the_file_and_the_command_line() -> None:
    assert load_settings(ForgettingStudy).num_seeds == 5
    assert load_settings(ValidatorStudy, ["rows=[64]", "run_dir=here"]).rows == (64,)
    with pytest.raises(UserError, match="num_frames must be from 5 to 1021 in steps of 4, got 8"):
        load_settings(ForgettingStudy, ["num_frames=8"])
    with pytest.raises(UserError, match="did you mean steps"):
        load_settings(ForgettingStudy, ["stepz=1"])


def test_a_study_is_called_with_its_settings_and_page(tmp_path: Path) -> None:
    calls: list[tuple[int, Path]] = []
    words = ["num_seeds=2", "--out", str(tmp_path / "page.md"), f"run_dir={tmp_path / 'run'}"]
    assert run_study(ForgettingStudy, lambda settings, page: calls.append((settings.num_seeds, page)), "", words) == 0
    assert calls == [(2, tmp_path / "page.md")]


def test_a_wrong_setting_is_one_line_and_help_shows_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_study(ForgettingStudy, lambda settings, page: None, "", ["steps=0"]) == 2
    assert capsys.readouterr().err == "driveforge: steps must be 1 or more, got 0\n"
    with pytest.raises(SystemExit):
        run_study(ValidatorStudy, lambda settings, page: None, "What it does.", ["--help"])
    shown = capsys.readouterr().out
    assert "What it does." in shown and "num_good=330" in shown
