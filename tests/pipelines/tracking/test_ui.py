"""``driveforge ui``: the MLflow server, its termination, and its errors."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.tracking.runs import pipeline_run
from driveforge.pipelines.tracking.store import Store, find_store
from driveforge.pipelines.tracking.ui import find_page, serve


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = replace(compose(), run_dir=tmp_path_factory.mktemp("my runs") / "first")
    note = config.run_dir.parent / "note.txt"
    note.write_text("seen")
    with pipeline_run(config, "run") as tracker:
        tracker.log_artifact(note, "notes")
    return config


def _store(config: Config) -> Store:
    return find_store(config.run, config.tracking)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_the_server_serves_the_run_and_its_artifacts_and_ends(config: Config) -> None:
    with serve(_store(config), _free_port()) as (address, server):
        with urllib.request.urlopen(f"{address}/health") as answer:
            assert answer.read() == b"OK"
        search = urllib.request.Request(
            f"{address}/api/2.0/mlflow/runs/search",
            data=json.dumps({"experiment_ids": ["1"]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(search) as answer:
            (run,) = json.load(answer)["runs"]
        page = f"{address}/#/experiments/1/runs/{run['info']['run_id']}"
        assert find_page(address, config.run) == page
        assert find_page(address, replace(config, run_dir=config.run_dir / "other").run) == address
        with urllib.request.urlopen(
            f"{address}/get-artifact?path=notes/note.txt&run_uuid={run['info']['run_id']}"
        ) as answer:
            assert answer.read() == b"seen"
    assert server.poll() is not None
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/health", timeout=2)


@pytest.mark.parametrize(("signum", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_the_server_ends_with_the_command(config: Config, signum: str, status: int) -> None:
    port = _free_port()
    command = [
        sys.executable,
        "-u",
        "-m",
        "driveforge.pipelines.cli",
        "ui",
        "--port",
        str(port),
        f"run_dir={config.run_dir}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert f"http://127.0.0.1:{port}" in process.stdout.readline()
    os.kill(process.pid, getattr(signal, signum))
    assert process.wait(30) == status
    process.stdout.close()
    deadline = time.monotonic() + 15
    while _is_listening(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_listening(port)


def _is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_a_taken_port_is_one_line(config: Config) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(UserError, match="choose another with --port"),
            serve(_store(config), taken.getsockname()[1]),
        ):
            pass


def test_a_missing_store_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="run `driveforge demo`"),
        serve(_store(replace(compose(), run_dir=tmp_path / "x")), 5000),
    ):
        pass


def test_a_server_that_does_not_start_is_reported_with_the_reason(config: Config) -> None:
    tracking = replace(config.tracking, uri="nosuchdb://store")
    with (
        pytest.raises(UserError, match=r"did not start.*\S"),
        serve(_store(replace(config, tracking=tracking)), _free_port()),
    ):
        pass
