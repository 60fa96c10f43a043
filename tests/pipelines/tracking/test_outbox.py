"""The MLflow server may terminate and restart: work continues, and no call is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.pipelines import cli
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking import outbox
from driveforge.pipelines.tracking.runs import pipeline_run


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A real MLflow server that can be killed and started again, with the same store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/store.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.0)
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def config(server: Server, tmp_path: Path) -> Config:
    config = compose([f"run_dir={tmp_path / 'runs' / 'a'}"])
    return replace(config, tracking=replace(config.tracking, uri=server.uri))


def test_a_server_that_returns_receives_the_queued_calls(
    server: Server, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("seen")
    with pipeline_run(config, "run") as tracker:
        tracker.log_metrics({"loss": 3.0}, 1)
        server.kill()
        tracker.log_metrics({"loss": 2.0}, 2)
        tracker.log_artifact(note)
        with tracker.child("generation") as child:
            child.log_metrics({"clips": 4})
        assert (config.run.mlflow_outbox).exists()
        server.start()
        tracker.log_metrics({"loss": 1.0}, 3)
        assert not (config.run.mlflow_outbox).exists()
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    history = client.get_metric_history(tracker.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert [artifact.path for artifact in client.list_artifacts(tracker.run_id)] == ["note.txt"]
    nested = client.get_run(child.run_id)
    assert (nested.info.status, nested.data.metrics) == ("FINISHED", {"clips": 4.0})
    assert nested.data.tags["mlflow.parentRunId"] == tracker.run_id
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "work continues" in said[0] and "responds again" in said[1]


def test_the_next_command_sends_the_queued_calls(
    server: Server, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with pipeline_run(config, "run") as tracker:
        server.kill()
        tracker.log_metrics({"loss": 2.0}, 2)
    assert "queued in" in capsys.readouterr().err
    with pytest.raises(UserError, match="does not respond"), pipeline_run(config, "run"):
        pass
    server.start()
    with pipeline_run(config, "run") as again:
        assert again.run_id == tracker.run_id
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    assert client.get_run(tracker.run_id).data.metrics == {"loss": 2.0}
    assert not (config.run.mlflow_outbox).exists()


SMALL = [
    "data=simulated",
    "data.num_scenes=2",
    "data.height=32",
    "data.width=48",
    "data.num_frames=5",
    "replay=none",
    "finetune.batch_size=1",
    "finetune.steps=40",
    "finetune.checkpoint_every=10",
]


@pytest.mark.slow
def test_a_fine_tune_continues_without_the_server_and_its_curve_has_no_gap(server: Server, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = TinyConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
    TinyWorldModel.from_config(tiny).save_pretrained(tmp_path / "start")
    run_dir = tmp_path / "runs" / "a"
    words = [f"run_dir={run_dir}", f"model.checkpoint={tmp_path / 'start'}", f"tracking.uri={server.uri}", *SMALL]
    command = [sys.executable, "-m", "driveforge.pipelines.cli", "finetune", *words]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
    while not list((run_dir / "finetune").glob("step=*.ckpt")):
        assert process.poll() is None
        time.sleep(0.01)
    server.kill()
    while not RunDir(run_dir).mlflow_outbox.exists():
        assert process.poll() is None
        time.sleep(0.01)
    # Stopped until the server is up, so that it cannot finish before.
    process.send_signal(signal.SIGSTOP)
    server.start()
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert said.count("work continues") == said.count("responds again") == 1 and "Traceback" not in said
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {"a": "FINISHED", "finetune": "FINISHED"}
    curve = client.get_metric_history(runs["finetune"].info.run_id, "loss")
    assert [metric.step for metric in curve] == [9, 19, 29, 39]
    assert not RunDir(run_dir).mlflow_outbox.exists()


def test_torn_entries_are_skipped_with_a_message(
    server: Server, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    config.run_dir.mkdir(parents=True)
    (config.run.mlflow_outbox).write_text(
        '{"run": "a", "id": null\n[]\n{"run": [], "id": 1, "kind": "x", "values": 3}\n'
    )
    with pipeline_run(config, "run"):
        pass
    assert capsys.readouterr().err.count("is skipped") == 3


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_server_that_does_not_respond_is_reported_within_seconds(
    is_silent: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if is_silent:
            silent.listen()
        began = time.monotonic()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = ["finetune", f"run_dir={tmp_path / 'a'}", f"tracking.uri={uri}"]
        assert cli.main(words) == 2
    assert time.monotonic() - began < 30
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "does not respond" in said


@pytest.mark.parametrize("uri", ["nosuchdb://x", "http://127.0.0.1:99999", "sqlite:////proc/no/where.db"])
def test_an_invalid_address_is_one_line(uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["finetune", f"run_dir={tmp_path / 'a'}", f"tracking.uri={uri}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) < 300 and uri in said


class Uploads:
    """A client that keeps the contents of uploaded files."""

    def __init__(self) -> None:
        self.contents: list[str] = []

    def log_artifact(self, run_id: str, path: str, folder: str | None) -> None:
        self.contents.append(Path(path).read_text())


def test_a_queued_file_is_found_after_the_run_folder_has_moved(tmp_path: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    first.mkdir()
    (tmp_path / "outside.txt").write_text("outside")
    for path, content in (("note.txt", "inside"), (str(tmp_path / "outside.txt"), "")):
        if content:
            (first / path).write_text(content)
        call = {"run": "r", "id": "1", "kind": "artifact", "values": {"path": path, "folder": None}}
        with (first / "waiting.jsonl").open("a") as file:
            file.write(json.dumps(call) + "\n")
    first.rename(moved)
    client = Uploads()
    outbox.Outbox(client, "sqlite:///x", moved / "waiting.jsonl")
    assert client.contents == ["inside", "outside"]
