"""Settings in files, and where every setting came from."""

import json
from pathlib import Path

import pytest

from driveforge.pipelines import cli
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.saved import write_settings

FILE = """
run_dir: {run_dir}
data: nuscenes
data.root: {run_dir}
finetune: {{steps: 7, strategy: naive}}
generate:
  edits: [as-recorded, {{edit: slow, factor: [0.5, 0.7]}}]
  sampler: {{num_steps: 3}}
"""


def show(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[object, str]]:
    capsys.readouterr()
    status = cli.main(["show", "--json", *words])
    output = capsys.readouterr()
    assert status == 0, output.err
    return {key: (entry["value"], entry["origin"]) for key, entry in json.loads(output.out).items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "night.yaml"
    path.write_text(FILE.format(run_dir=tmp_path / "run"))
    return path


def test_every_layer_is_named(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings(compose([f"run_dir={tmp_path / 'run'}", "finetune.steps=5", "finetune.batch_size=3"]))
    saved = str(tmp_path / "run" / "settings.yaml")
    shown = show(capsys, "--config", str(file), "finetune.strategy=replay", "generate.seed=3")
    assert shown["finetune.batch_size"] == (3, saved)
    assert shown["finetune.steps"] == (7, str(file))
    assert shown["finetune.strategy"] == ("replay", "command line")
    assert shown["generate.seed"] == (3, "command line")
    assert shown["generate.edits"] == (["as-recorded", "slow(factor=0.5)", "slow(factor=0.7)"], str(file))
    assert shown["generate.sampler.num_steps"] == (3, str(file))
    assert shown["generate.sampler.strength"] == (0.5, saved), "a file changes single values of a nested record"
    assert shown["data.name"] == ("nuscenes", str(file))
    assert shown["data.version"] == ("v1.0-mini", f"conf/data/nuscenes.yaml (data=nuscenes: {file})")
    assert shown["data.height"] == (96, "conf/data/_framing.yaml")


def test_defaults_are_named_by_their_file(capsys: pytest.CaptureFixture[str]) -> None:
    shown = show(capsys, "finetune=full", "model=wan", "model.checkpoint=DIR", "run_dir=none")
    assert shown["run_dir"] == ("none", "command line")
    assert shown["finetune.adapter"] == ("full", "conf/finetune/full.yaml (finetune=full: command line)")
    assert shown["finetune.steps"][1] == "conf/finetune/lora.yaml"
    assert shown["generate.sampler.num_steps"] == (50, "conf/model/wan.yaml (model=wan: command line)")
    assert shown["generate.num_clips"][1] == "conf/generate/default.yaml"
    assert show(capsys, "run_dir") == {"run_dir": ("runs/default", "conf/config.yaml")}


def test_a_prefix_selects_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(show(capsys, "tracking")) == {key for key in show(capsys) if key.startswith("tracking.")}
    assert list(show(capsys, "generate.sampler.strength")) == ["generate.sampler.strength"]
    assert cli.main(["show", "generat"]) == 2
    assert "no setting generat; did you mean generate?" in capsys.readouterr().err
    assert cli.main(["show", "executor", "executor=ray"]) == 0
    assert "executor.workers=" in capsys.readouterr().out


def test_the_table_changes_nothing(file: Path, tmp_path: Path) -> None:
    assert cli.main(["show", "--config", str(file)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night.yaml"]


def test_a_group_that_is_chosen_again_drops_the_values_of_a_file(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = show(capsys, "data", f"--config={file}", "data=video", "data.root=clips")
    assert shown["data.name"] == ("video", "command line") and "data.version" not in shown


def test_the_settings_of_another_run_are_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tmp_path / "first"
    write_settings(compose([f"run_dir={first}", "replay=none", f"replay.root={first}/world", "generate.num_clips=5"]))
    shown = show(capsys, "--config", str(first / "settings.yaml"), f"run_dir={tmp_path / 'second'}")
    assert shown["replay.root"][0] == str(first / "world")
    assert shown["generate.num_clips"] == (5, str(first / "settings.yaml"))
    assert shown["run_dir"][0] == str(tmp_path / "second")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("finetune: {stepz: 1}", "bad.yaml: no setting finetune.stepz; did you mean finetune.steps?"),
        ("finetune: {steps: many}", "bad.yaml: finetune.steps must be a whole number, got 'many'"),
        ("finetune: {steps: 0}", "bad.yaml: finetune.steps must be 1 or more, got 0"),
        ("finetune: fll", "bad.yaml: finetune=fll is not a choice; there are finetune=full, finetune=lora"),
        ("fine: 3", "bad.yaml: no setting fine; did you mean finetune?"),
        ("generate: {edits: [{edit: slw}]}", "bad.yaml: generate.edits[0]: no edit 'slw'; did you mean slow?"),
        ("- a", "bad.yaml must hold settings by section"),
        ("{", "bad.yaml cannot be read"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    assert cli.main(["show", "--config", str(tmp_path / "bad.yaml")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert cli.main(["show", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err


def test_a_run_folder_in_a_store_is_not_taken_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.yaml").write_text("run_dir: s3://bucket/run\n")
    assert cli.main(["gate", "--config", str(tmp_path / "settings.yaml")]) == 2
    assert (
        "run_dir=s3://bucket/run: give a run folder in an object store on the command line" in capsys.readouterr().err
    )
