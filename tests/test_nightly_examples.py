"""The shipped schedules of ``driveforge nightly``: crontab, systemd, Kubernetes and Ray."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from driveforge.pipelines.commands.catalog import COMMANDS
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.nightly.new_data import find_training_clips
from driveforge.pipelines.nightly.night import Night, write_clips, write_night
from driveforge.pipelines.nightly.status import Status
from tests.pipelines.nightly.test_new_data import FRAMING, write_clip

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "nightly"
(NIGHTLY,) = (command for command in COMMANDS if command.name == "nightly")
NUSCENES = "data=nuscenes data.root=/data/nuscenes data.version=v1.0-trainval"
# Quoted YAML, and the names of other programs: what a job passes to driveforge.
SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*=\S+")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """``driveforge`` of this checkout, in a folder for PATH."""
    path = tmp_path / "bin" / "driveforge"
    path.parent.mkdir()
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(ROOT))} OMP_NUM_THREADS=1\n"
        f'exec {shlex.quote(sys.executable)} -m driveforge.pipelines.cli "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> str:
    """Settings of a data set whose clips were all in an earlier night."""
    data, nights = tmp_path / "data" / "drives", tmp_path / "data" / "nights"
    write_clip(data, "train", seed=0)
    write_clip(data, "held-out", seed=1, split="val")
    words = ["data=video", f"data.root={data}", *FRAMING]
    clips = find_training_clips(compose(words).data, tmp_path)
    values: dict[str, Any] = {"num_clips": 1, "num_new": 1, "start": "", "champion": "", "base": ""}
    night = Night(name="first", began="2026-01-31", data=clips.digest, outcome="promoted", **values)
    write_night(nights, night)
    write_clips(nights / "first", clips.digests)
    return " ".join(map(shlex.quote, words))


def crontab_lines() -> tuple[dict[str, str], list[str]]:
    """The environment and the commands of the crontab; cron ends a command at a bare %."""
    variables, commands = {}, []
    for line in (EXAMPLES / "crontab").read_text().splitlines():
        if match := re.fullmatch(r"([A-Z]+)=(.*)", line):
            variables[match[1]] = match[2]
        elif line and not line.startswith("#"):
            fields = line.split(None, 5)
            assert all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5])
            assert "%" not in fields[5]
            commands.append(fields[5])
    return variables, commands


def test_the_crontab_runs_with_the_environment_of_cron(program: Path, settings: str, tmp_path: Path) -> None:
    variables, (command,) = crontab_lines()
    assert NUSCENES in command
    command = command.replace(NUSCENES, settings).replace("/data/nights", str(tmp_path / "data" / "nights"))
    command = command.replace("cd /data", f"cd {tmp_path / 'data'}")
    path = variables["PATH"].replace("/opt/driveforge/.venv/bin", str(program.parent))
    environment = {"HOME": str(tmp_path), "LOGNAME": "nobody", "SHELL": variables["SHELL"], "PATH": path}
    done = subprocess.run(
        [variables["SHELL"], "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    log = (tmp_path / "data" / "nights.log").read_text()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "cron would mail any output"
    assert log.endswith(f"exit status {int(Status.NO_NEW_DATA)}\n") and "no new data: all 1 clips" in log
    summary = json.loads((tmp_path / "data" / "nights-summary.json").read_text())
    assert (summary["status"], summary["outcome"], summary["night"]) == (4, "no-new-data", "first")


def test_the_systemd_units_are_valid(program: Path, tmp_path: Path) -> None:
    names = ("driveforge-nightly.service", "driveforge-nightly.timer")
    for name in names:
        text = (EXAMPLES / name).read_text().replace("/opt/driveforge/.venv/bin/driveforge", str(program))
        (tmp_path / name).write_text(text)
    units = {name: configparser.ConfigParser(interpolation=None, strict=True) for name in names}
    for name, unit in units.items():
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read(EXAMPLES / name)
    service = units[names[0]]["Service"]
    assert service["Type"] == "oneshot", "a timer does not start a service that still runs"
    assert {Status(int(word)) for word in service["SuccessExitStatus"].split()} == {
        Status.REFUSED, Status.NO_NEW_DATA, Status.ALREADY_RUNNING, Status.TIME_IS_UP,
    }  # fmt: skip
    require_valid_settings(shlex.split(service["ExecStart"])[1:])
    assert units[names[1]]["Timer"]["Persistent"] == "true" and units[names[1]]["Install"]["WantedBy"]
    if shutil.which("systemd-analyze"):
        verify = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names)]
        done = subprocess.run(verify, capture_output=True, text=True)
        ours = [line for line in done.stderr.splitlines() if "driveforge-nightly" in line]
        assert done.returncode == 0 and ours == [], done.stderr


def require_valid_settings(words: list[str]) -> None:
    assert words[0] == "nightly"
    settings = [word for word in words[1:] if not word.startswith("--")]
    assert all(SETTING.fullmatch(word) for word in settings)
    compose([*NIGHTLY.presets, *settings])


# The fields of each object of a CronJob that the example may use, of those in the API reference of batch/v1.
KUBERNETES: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": str},
    "spec": {
        "schedule": str,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": int,
        "successfulJobsHistoryLimit": int,
        "failedJobsHistoryLimit": int,
        "jobTemplate": {
            "spec": {
                "backoffLimit": int,
                "podFailurePolicy": {"rules": list},
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "terminationGracePeriodSeconds": int,
                        "containers": list,
                        "volumes": list,
                    }
                },
            }
        },
    },
}


def require_structure(value: Any, expected: Any, where: str = "") -> None:
    if isinstance(expected, dict):
        assert isinstance(value, dict) and set(value) == set(expected), where
        for key, inner in expected.items():
            require_structure(value[key], inner, f"{where}.{key}")
    elif isinstance(expected, type):
        assert type(value) is expected, where
    else:
        assert value == expected, where


def test_the_cron_job_of_kubernetes() -> None:
    (job,) = yaml.safe_load_all((EXAMPLES / "cronjob.yaml").read_text())
    require_structure(job, KUBERNETES)
    assert re.fullmatch(r"([\d*/,-]+ ){4}[\d*/,-]+", job["spec"]["schedule"])
    spec = job["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["driveforge", "nightly"]
    require_valid_settings([*container["command"][1:], *container["args"]])
    final, disrupted = spec["podFailurePolicy"]["rules"]
    assert final["onExitCodes"]["containerName"] == container["name"] and final["action"] == "FailJob"
    again = {Status.PROMOTED, Status.FAILED}
    assert set(final["onExitCodes"]["values"]) == {int(status) for status in Status if status not in again}
    assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert {item["name"] for item in container["env"]} == {"MLFLOW_TRACKING_URI", "DRIVEFORGE_WEBHOOK"}


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[Path]:
    """A program ``ray`` that prints its arguments, one a line, and ends with status 3."""
    path = tmp_path / "bin" / "ray"
    path.parent.mkdir(exist_ok=True)
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    path.chmod(0o755)
    yield path


def test_the_job_of_ray(ray: Path) -> None:
    environment = {"PATH": f"{ray.parent}:/usr/bin:/bin", "HOME": "/"}
    script = EXAMPLES / "ray_job.sh"
    settings = ["data=nuscenes", "data.root=/data/my drives", "run_dir=/data/nights"]
    done = subprocess.run(
        [script, "http://head:8265", *settings], capture_output=True, text=True, env=environment, cwd="/"
    )
    assert (done.returncode, done.stderr) == (3, ""), "the status of the job is passed on"
    words = done.stdout.splitlines()
    options, job = words[: words.index("--")], words[words.index("--") + 1 :]
    assert options[:5] == ["job", "submit", "--address", "http://head:8265", "--submission-id"]
    assert options[5].startswith(f"driveforge-nightly-{datetime.now():%Y-%m}")
    assert job == ["driveforge", "nightly", "executor=ray", "executor.address=auto", *settings]
    compose([*NIGHTLY.presets, *job[2:]])
    assert subprocess.run([script], capture_output=True, env=environment).returncode != 0


def test_ray_has_the_options_of_the_job() -> None:
    program = Path(sys.executable).parent / "ray"
    done = subprocess.run([program, "job", "submit", "--help"], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0 and all(option in done.stdout for option in ("--address", "--submission-id"))
