"""Sweeps: a command once for each combination of settings, resumable."""

import json
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines import cli
from driveforge.pipelines.config.sweep import assign_folders, list_combinations


def test_commas_outside_of_brackets_separate_values() -> None:
    overrides = ["run_dir=x", "generate.seed=0,1", "data.domains=[a,b]", "generate.balance=[],[speed]"]
    runs = list_combinations(["plan"], overrides)
    assert [run.swept for run in runs] == [
        ("generate.seed=0", "generate.balance=[]"),
        ("generate.seed=0", "generate.balance=[speed]"),
        ("generate.seed=1", "generate.balance=[]"),
        ("generate.seed=1", "generate.balance=[speed]"),
    ]
    assert all("data.domains=[a,b]" in run.overrides for run in runs)
    with pytest.raises(UserError, match="sweep varies nothing"):
        list_combinations(["plan"], ["generate.seed=0"])


def test_a_combination_keeps_its_folder_when_values_are_added(tmp_path: Path) -> None:
    first = assign_folders(tmp_path, list_combinations(["plan"], ["generate.seed=0,1"]))
    assert [folder.name for folder in first] == ["000-seed-0", "001-seed-1"]
    again = assign_folders(tmp_path, list_combinations(["plan"], ["generate.seed=5,1,0"]))
    assert [folder.name for folder in again] == ["002-seed-5", "001-seed-1", "000-seed-0"]
    other = assign_folders(tmp_path, list_combinations(["generate"], ["generate.seed=0,1"]))
    assert [folder.name for folder in other] == ["003-seed-0", "004-seed-1"]


def test_finished_combinations_are_not_run_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "show", "generate.num_clips", f"run_dir={tmp_path}", "generate.num_clips=3,4"]
    assert cli.main(words) == 0
    assert "generate.num_clips=3 " in capfd.readouterr().out
    records = [tmp_path / "sweep" / name / "sweep.json" for name in ("000-num_clips-3", "001-num_clips-4")]
    before = [path.read_bytes() for path in records]
    assert [json.loads(content)["status"] for content in before] == [0, 0]
    rows = json.loads((tmp_path / "sweep" / "summary.json").read_text())
    assert [row["settings"] for row in rows] == [{"generate.num_clips": "3"}, {"generate.num_clips": "4"}]
    records[1].write_text(json.dumps(json.loads(before[1]) | {"status": -1}))
    assert cli.main(words) == 0
    output = capfd.readouterr().out
    assert "generate.num_clips=4 " in output and "generate.num_clips=3 " not in output
    assert records[0].read_bytes() == before[0] and json.loads(records[1].read_bytes())["status"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "generate.seed=0,-1"), "generate.seed must be 0 or more, got -1"),
        (("show", "generate.sed=0,1"), "no setting generate.sed; did you mean generate.seed?"),
        (("shw", "generate.seed=0,1"), "sweep: no command 'shw'; did you mean show?"),
    ],
)
def test_a_wrong_combination_is_refused_before_the_first_runs(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", *words, f"run_dir={tmp_path}"]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "sweep").exists()


def test_the_settings_of_the_run_are_inherited(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.yaml").write_text("generate: {num_clips: 11}")
    assert cli.main(["sweep", "show", "generate", f"run_dir={tmp_path}", "generate.seed=0,1"]) == 0
    assert capfd.readouterr().out.count("generate.num_clips=11 ") == 2
