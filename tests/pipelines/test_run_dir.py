"""A run folder saves its settings, and one command at a time writes to it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines import cli
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.saved import load_settings, settings_transaction
from driveforge.pipelines.inputs.settings import NuScenesData
from driveforge.pipelines.run_dir import SETTINGS_FILE, require_run

HOLD = """
import sys
from pathlib import Path
from driveforge.pipelines.run_dir import run_dir_lock
with run_dir_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def create_run(run_dir: Path, *overrides: str) -> Config:
    config, before = load_settings(run_dir, [], [f"run_dir={run_dir}", *overrides])
    run_dir.mkdir(parents=True, exist_ok=True)
    with settings_transaction(config, before, creates_run=True):
        return config


def test_a_later_stage_reads_the_saved_settings(tmp_path: Path) -> None:
    create_run(tmp_path / "a", "data=nuscenes", "data.root=drives", "data.version=v1.0-trainval", "finetune.steps=7")
    config, before = load_settings(tmp_path / "a", ["finetune=full"], [])
    assert isinstance(config.data, NuScenesData)
    assert config.data.root == Path.cwd() / "drives", "stages may be called from any directory"
    assert (config.data.version, config.finetune.steps, config.finetune.adapter) == ("v1.0-trainval", 7, "lora")
    assert before == config


def test_changed_settings_are_printed_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_run(tmp_path / "a", "finetune.steps=7")
    capsys.readouterr()
    create_run(tmp_path / "a", "finetune.steps=9", "replay.domains=[orbit]")
    output = capsys.readouterr().err.splitlines()
    assert [line.split(": ", 2)[2] for line in output] == [
        "replay.domains was [orbit, handheld, falling, walkers], is now [orbit]",
        "finetune.steps was 7, is now 9",
    ]
    create_run(tmp_path / "a")
    assert capsys.readouterr().err == ""
    assert load_settings(tmp_path / "a", [], [])[0].finetune.steps == 9


def test_another_group_has_its_own_values(tmp_path: Path) -> None:
    create_run(tmp_path / "a", "data=nuscenes", "data.root=drives", "data.stride=3")
    config, _ = load_settings(tmp_path / "a", [], ["data=video", "data.root=clips"])
    assert (config.data.name, config.data.stride) == ("video", 17)


def test_paths_inside_the_run_folder_survive_a_move(tmp_path: Path) -> None:
    create_run(tmp_path / "a", "data=nuscenes", f"data.root={tmp_path}/a/world", f"replay.root={tmp_path}/a-other")
    (tmp_path / "a").rename(tmp_path / "b")
    config, _ = load_settings(tmp_path / "b", [], [])
    assert isinstance(config.data, NuScenesData)
    assert config.data.root == tmp_path / "b" / "world"
    assert config.replay.root == tmp_path / "a-other"


def test_a_refused_command_does_not_change_the_settings(tmp_path: Path) -> None:
    create_run(tmp_path / "a", "finetune.steps=7")
    before = (tmp_path / "a" / SETTINGS_FILE).read_bytes()
    config, old = load_settings(tmp_path / "a", [], ["finetune.steps=9"])
    with pytest.raises(UserError), settings_transaction(config, old, creates_run=True):
        raise UserError("no")
    assert (tmp_path / "a" / SETTINGS_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 5000, "cannot be read"),
        (b"- a", "no sections"),
        (b"finetune: 3", "finetune is not a section"),
        (b"[a]: {}", "cannot be read"),
        (b"nonsense: {a: 1}", "nonsense is not a section"),
        (b"finetune: {stepz: 1}", "did you mean finetune.steps"),
        (b"finetune: {steps: [1]}", "finetune.steps must be a whole number"),
        (b"data: {name: [nuscenes]}", "data="),
        (b"data: {name: nuscenes}", "data.root must be given"),
    ],
)
def test_settings_that_cannot_be_read_are_one_line(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / SETTINGS_FILE).write_bytes(content)
    assert cli.main(["gate", f"run_dir={tmp_path}"]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and SETTINGS_FILE in output and message in output


@pytest.mark.parametrize("command", ["gate", "export", "promote", "verify"])
def test_a_mistyped_run_folder_is_not_created(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_run(tmp_path / "tonight")
    assert cli.main([command, f"run_dir={tmp_path / 'tonigt'}"]) == 2
    assert "did you mean run_dir=" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tonight"]
    with pytest.raises(UserError, match="holds no run"):
        require_run(tmp_path)


def test_a_refused_command_leaves_no_new_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_run(tmp_path / "tonight")
    words = ["finetune", f"run_dir={tmp_path / 'tonigt'}", "data=video", f"data.root={tmp_path / 'no'}"]
    assert cli.main(words) == 2
    output = capsys.readouterr().err.splitlines()
    assert output[0].endswith("there is also " + str(tmp_path / "tonight")) and "does not exist" in output[1]
    assert [path.name for path in tmp_path.iterdir()] == ["tonight"]


@pytest.mark.parametrize("setting", ["replay.root", "replay.buffer"])
def test_missing_replay_footage_is_refused_before_any_work(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["finetune", f"run_dir={tmp_path / 'a'}", f"{setting}={tmp_path / 'no'}"]) == 2
    assert f"{setting}=" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def start_holder(run_dir: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(run_dir)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return process


def test_a_second_command_names_the_holder_of_the_lock_and_waits(tmp_path: Path) -> None:
    first, run_dir = start_holder(tmp_path), tmp_path
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    second = start_holder(run_dir)
    assert second.stderr is not None
    output = second.stderr.readline()
    assert f"process {first.pid} on {os.uname().nodename}, since 20" in output
    first.communicate()
    out, _ = second.communicate(timeout=30)
    assert out == "held\n"
    assert list(run_dir.iterdir()) == [], "the lock file is removed"


def test_a_killed_command_releases_the_lock(tmp_path: Path) -> None:
    first = start_holder(tmp_path)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    start = time.monotonic()
    out, err = start_holder(tmp_path).communicate(timeout=30)
    assert (out, err) == ("held\n", "") and time.monotonic() - start < 20


def test_a_waiting_command_recreates_a_removed_folder(tmp_path: Path) -> None:
    run_dir = tmp_path / "a"
    first = start_holder(run_dir)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    second = start_holder(run_dir)
    assert second.stderr is not None and "waiting" in second.stderr.readline()
    shutil.rmtree(run_dir)
    first.communicate()
    assert second.stdout is not None and second.stdout.readline() == "held\n"
    assert (run_dir / ".lock").exists()
    second.communicate()
