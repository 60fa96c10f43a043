"""``driveforge ui``: the MLflow server for the store of the runs, on this machine only."""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.processes import supervise
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import read_run_ids
from driveforge.pipelines.tracking.store import Store, find_store, open_store

# MLflow has no authentication by default and has had remote vulnerabilities, so it is not exposed to the network.
HOST = "127.0.0.1"
START_SECONDS = 120.0


def main(config: Config, args: argparse.Namespace) -> int:
    with serve(find_store(config.run, config.tracking), args.port) as (address, server):
        print(f"MLflow shows the runs at {find_page(address, config.run)}   (Ctrl-C stops it)", flush=True)
        return server.wait()


def find_page(address: str, run: RunDir) -> str:
    """The page of the run of ``run`` on the server at ``address``; the server's own if it has no such run."""
    run_id = read_run_ids(run)["run"]
    if run_id is None:
        return address
    try:
        with urllib.request.urlopen(f"{address}/api/2.0/mlflow/runs/get?run_id={run_id}", timeout=10) as answer:
            experiment = json.load(answer)["run"]["info"]["experiment_id"]
    except (OSError, ValueError, KeyError):
        return address
    return f"{address}/#/experiments/{experiment}/runs/{run_id}"


@contextmanager
def serve(store: Store, port: int) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start a server; yields its address and process once it responds.

    It is terminated, with its workers, when the block is left or when this process is killed. Raises UserError if there
    is no store yet, the port is taken, or the server does not start.
    """
    if not store.exists:
        raise UserError(f"no runs in {store.database.parent}: run `driveforge demo`, or set run_dir=RUN")
    if store.configured is None:
        open_store(store)  # corrects artifact paths after a move
    _check_free(port)
    address = f"http://{HOST}:{port}"
    with tempfile.TemporaryFile() as log:
        server = _start(store, port, log)
        try:
            _wait_for(address, server, log)
            yield address, server
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait()


def _check_free(port: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UserError(f"port {port} cannot be used ({error}); choose another with --port") from None


def _start(store: Store, port: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, supervise.__file__]
    command += [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store.uri, "--default-artifact-root", store.artifacts.as_uri()]
    environment = os.environ | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
    )


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    log.seek(0)
    last = log.read().decode(errors="replace").strip().splitlines()[-1:]
    raise UserError(f"the MLflow server did not start at {address}: {' '.join(last) or 'no output'}")
