"""The command line: dispatch, settings, help, exit statuses and error messages."""

import argparse
import ast
import errno
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines import cli
from driveforge.pipelines.commands.catalog import COMMANDS
from driveforge.pipelines.commands.command import Command
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.inputs.settings import NuScenesData

ROOT = Path(__file__).parents[2]
NAMES = [command.name for command in COMMANDS]
DEFAULTS = compose()
HEAVY = ("torch", "ray", "mlflow", "hydra", "lightning", "diffusers", "nuscenes", "numpy", "cv2")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[tuple[Config, argparse.Namespace]]]:
    """The calls of commands, whose modules are replaced by fakes that record their arguments.

    The current folder holds the runs and footage that the examples name.
    """
    for name in (
        "runs/default/model",
        "runs/mini/model",
        "runs/demo/candidates",
        "DIR",
        "FOOTAGE",
        "footage/held-out",
        "data/nuscenes/v1.0-mini",
    ):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    recorded: list[tuple[Config, argparse.Namespace]] = []
    for command in COMMANDS:
        module = ModuleType(command.module)
        module.main = lambda config, args: recorded.append((config, args))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield recorded


def library_error(error: OSError) -> Exception:
    try:
        raise RuntimeError("the writer has failed") from error
    except RuntimeError as wrapped:
        return wrapped


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("wrap", [lambda error: error, library_error], ids=["plain", "wrapped"])
@pytest.mark.parametrize("path", ["/data/cache.bin", None])
def test_a_full_disk_inside_a_library_is_one_line_with_the_path(
    number: int,
    wrap: Callable[[OSError], Exception],
    path: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(config: Config, args: argparse.Namespace) -> None:
        raise wrap(OSError(number, os.strerror(number), *([path] if path else [])))

    module = ModuleType("driveforge.pipelines.validate.measure")
    module.main = work  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert cli.main(["measure", str(tmp_path), f"run_dir={tmp_path / 'run'}"]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and f"cannot be written ({os.strerror(number)})" in output
    assert (path or str(tmp_path / "run")) in output


def test_another_system_error_is_not_a_write_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def work(config: Config, args: argparse.Namespace) -> None:
        raise library_error(PermissionError(errno.EACCES, "Permission denied", "/data"))

    module = ModuleType("driveforge.pipelines.validate.measure")
    module.main = work  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(RuntimeError):
        cli.main(["measure", str(tmp_path), f"run_dir={tmp_path / 'run'}"])


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_command_has_a_module(command: Command) -> None:
    tree = ast.parse((ROOT / f"{command.module.replace('.', '/')}.py").read_text())
    (main,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert [argument.arg for argument in main.args.args] == ["config", "args"]


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code = "import sys, driveforge.pipelines.cli as cli\n"
    code += "try: cli.main(['--help'])\nfinally: print([m for m in HEAVY if m in sys.modules])"
    code = code.replace("HEAVY", repr(HEAVY))
    before = os.times()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout
    after = os.times()
    assert out.strip().endswith("[]")
    assert re.findall(r"^    ([a-z]+)  +[a-z]", out, re.MULTILINE) == NAMES
    # CPU time, which other work on the machine hardly changes.
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert seconds < 1.0


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert re.fullmatch(r"driveforge \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 0
    assert "driveforge COMMAND [KEY=VALUE ...]" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_shows_examples_and_every_setting_it_reads(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    command = COMMANDS[NAMES.index(name)]
    assert all(example in shown for example in command.examples)
    assert max(map(len, shown.splitlines())) <= 100
    shown = re.sub(r",\n {8,}", ", ", shown)  # long lists are wrapped
    settings = dict(re.findall(r"^    ([a-z_]+[.][a-z_.]+)=(.*?)(?:  |$)", shown, re.MULTILINE))
    assert {key.split(".")[0] for key in settings} == set(command.sections)
    for section in set(command.sections) - {"data"}:
        values = getattr(DEFAULTS, section)
        expected = dict(_flat(section, values))
        assert {key: value for key, value in settings.items() if key.startswith(f"{section}.")} == expected


def _flat(where: str, record: Any) -> Iterator[tuple[str, str]]:
    for field in fields(record):
        value = getattr(record, field.name)
        if is_dataclass(value):
            yield from _flat(f"{where}.{field.name}", value)
        elif field.name != "name" or where == "export":
            yield f"{where}.{field.name}", format_value(value)


@pytest.mark.parametrize("example", [example for command in COMMANDS for example in command.examples])
def test_every_example_is_a_valid_command(
    example: str,
    calls: list[tuple[Config, argparse.Namespace]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    words = shlex.split(example.replace("/data/", f"{tmp_path}/data/"))
    assert cli.main(words[1:]) == 0, capsys.readouterr().err
    ((config, args),) = calls
    assert args.command == example.split()[1]
    assert isinstance(config, Config)


def test_settings_override_the_presets_of_a_command(
    calls: list[tuple[Config, argparse.Namespace]],
) -> None:
    assert cli.main(["demo", "executor=local"]) == 0
    assert (calls[0][0].run_dir, calls[0][0].executor.name) == (Path("runs/demo"), "local")


def test_settings_may_appear_anywhere_after_the_command(calls: list[tuple[Config, argparse.Namespace]]) -> None:
    words = ["measure", "replay.seed=1", "my clips/", "generate.seed=2", "--out", "a.parquet", "replay.seed=3"]
    assert cli.main(words) == 0
    ((config, args),) = calls
    assert (args.path, args.out) == (Path("my clips"), Path("a.parquet"))
    assert (config.replay.seed, config.generate.seed) == (3, 2)


@pytest.mark.parametrize(
    ("versions", "version"), [(["v1.0-trainval"], "v1.0-trainval"), (["v1.0-test", "v1.0-trainval"], "v1.0-mini")]
)
def test_measure_takes_settings_for_the_tables_at_its_path(
    versions: list[str], version: str, calls: list[tuple[Config, argparse.Namespace]], tmp_path: Path
) -> None:
    for name in versions:
        (tmp_path / name).mkdir()
    assert cli.main(["measure", str(tmp_path), "data.cameras=CAM_BACK"]) == 0
    data = calls[0][0].data
    assert isinstance(data, NuScenesData)
    assert (data.root, data.version, data.cameras) == (tmp_path, version, ("CAM_BACK",))


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["finetun"], "no command 'finetun'; did you mean finetune?"),
        (["simulate"], "the following arguments are required: --out; see driveforge simulate --help"),
        (["verify", "a", "b"], "unrecognized arguments: b; see driveforge --help"),
        (["ui", "--port", "x"], "argument --port: invalid int value: 'x'; see driveforge ui --help"),
        (["finetune", "replay.shar=1"], "no setting replay.shar; did you mean replay.share?"),
        (
            ["finetune", "data.root=X"],
            "data=simulated has no root; data.root needs data=nuscenes or data=video or data=shards or data=clipgt",
        ),
    ],
)
def test_a_wrong_command_is_one_line_and_status_2(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str], calls: list[tuple[Config, argparse.Namespace]]
) -> None:
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == f"driveforge: {line}\n"
    assert calls == []


@pytest.mark.parametrize(
    ("error", "status", "output"),
    [(UserError("table ego_pose.json is missing"), 2, "driveforge: table ego_pose.json is missing\n"),
     (KeyboardInterrupt(), 130, "driveforge: interrupted\n")],
)  # fmt: skip
def test_expected_errors_are_printed_without_a_traceback(
    error: BaseException,
    status: int,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    calls: list[tuple[Config, argparse.Namespace]],
) -> None:
    def fail(config: Config, args: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(sys.modules["driveforge.pipelines.validate.gate"], "main", fail)
    assert cli.main(["gate"]) == status
    assert capsys.readouterr().err == output


def test_the_status_of_a_command_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[Config, argparse.Namespace]]
) -> None:
    monkeypatch.setattr(sys.modules["driveforge.pipelines.export.verify"], "main", lambda config, args: 1)
    assert cli.main(["verify"]) == 1


def test_an_unexpected_error_is_raised(monkeypatch: pytest.MonkeyPatch, calls: object) -> None:
    def fail(config: Config, args: argparse.Namespace) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(importlib.import_module("driveforge.pipelines.validate.gate"), "main", fail)
    with pytest.raises(RuntimeError):
        cli.main(["gate"])


def test_waiting_threads_do_not_spin(calls: object) -> None:
    code = "import os, driveforge.pipelines.cli as c; c.main(['ui', 'run_dir=/no/where']); "
    code += "print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment).stdout
    assert out.strip().endswith("PASSIVE")
