"""A Ray to run workers in: one of this machine's own, or a connection to a cluster that is already there."""

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import driveforge
from driveforge.datasets.errors import UserError, shorten
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.processes.descendants import terminate_descendants
from driveforge.pipelines.processes.signals import preserve_handlers
from driveforge.pipelines.processes.threads import THREAD_ENVIRONMENT

PACKAGE = Path(driveforge.__file__).parent
# Frames stay in the worker that made them, so the object store only needs Ray's minimum.
OBJECT_STORE_BYTES = 100 * 2**20
LOGGING_OPTIONS = {"log_to_driver": False, "logging_level": "error", "namespace": "driveforge"}
# Together they keep whoever mistypes an address waiting for less than half a minute.
_CONNECT_SECONDS, _RESPONSE_SECONDS = 5.0, 20.0
# Ray itself asks a cluster that does not answer for a quarter of an hour, and cannot be told to stop: so in a process.
_CONNECT_SCRIPT = """
import json, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
    answer = {"cpus": ray.cluster_resources().get("CPU", 0.0)}
except Exception as error:
    answer = {"error": str(error) or type(error).__name__}
print("answer", json.dumps(answer))
"""


@contextmanager
def ray_session(settings: ExecutorSettings) -> Iterator[None]:
    """A Ray for as long as the context lasts; a UserError within 30 s where the cluster cannot be used."""
    with _remote_cluster(settings.address) if settings.address else _local_cluster(settings.workers):
        yield


@contextmanager
def _local_cluster(workers: int) -> Iterator[None]:
    """A cluster that lives as long as the context, listens on loopback only and asks for a token."""
    _force_loopback()
    # Given a token here, Ray does not write one into the home directory.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    # Ray's agents see only seconds later that their raylet has ended.
    with terminate_descendants():
        try:
            _start(workers)
            yield
        finally:
            ray.shutdown()


def _start(workers: int) -> None:
    import ray

    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    try:
        with _interruptible_start():
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                # Ray puts the interpreter into a shell command as it is, so a folder with spaces needs the quotes.
                runtime_env={
                    "env_vars": {**THREAD_ENVIRONMENT, "PYTHONPATH": path},
                    "py_executable": shlex.quote(sys.executable),
                },
                _node_ip_address="127.0.0.1",
                **LOGGING_OPTIONS,
            )
    except Exception as error:  # of a node that does not come up, Ray raises just that
        raise UserError(f"Ray cannot start here: {shorten(error, 150)}; executor=local needs no Ray") from error


@contextmanager
def _interruptible_start() -> Iterator[None]:
    """A block in which Ray starts; its handler of SIGTERM, which ends the process with status 15, is undone."""
    try:
        with preserve_handlers():
            yield
    except SystemExit:
        signal.raise_signal(signal.SIGTERM)  # to our handler, which should have had it
        raise


@contextmanager
def _remote_cluster(address: str) -> Iterator[None]:
    """A connection to a running cluster; its nodes get our packages from here, their dependencies have to be there."""
    require_listener(address)
    _require_workers(address)
    import ray

    try:
        with _interruptible_start():
            ray.init(
                address=address,
                runtime_env={"env_vars": THREAD_ENVIRONMENT, "py_modules": [str(PACKAGE)]},
                **LOGGING_OPTIONS,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"executor.address={address}: Ray cannot connect: {shorten(error, 150)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _force_loopback() -> None:
    """Ray turns 127.0.0.1 into the outward address unless clusters are switched off; it reads this when imported."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def require_listener(address: str) -> None:
    """A look at the port of a HOST:PORT; other forms, such as auto, are left to Ray."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address:
        return
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"executor.address={address} is no HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"executor.address={address}: nobody listens there ({error.strerror or error}); "
            "start the cluster with `ray start --head`, or leave executor.address out to start one here"
        ) from error


def _require_workers(address: str) -> None:
    """That a Ray of this version answers, and has room for a worker."""
    command = [sys.executable, "-c", _CONNECT_SCRIPT, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RESPONSE_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"executor.address={address}: what listens there does not answer as a Ray cluster within "
            f"{_RESPONSE_SECONDS:.0f} s; check the port, and that `ray status` works on the head node"
        ) from None
    answers = [line for line in done.stdout.splitlines() if line.startswith("answer ")]
    answer: dict[str, Any] = {"error": done.stderr or "no answer"}
    if answers:
        answer = json.loads(answers[0].removeprefix("answer "))
    if "error" in answer:
        raise UserError(f"executor.address={address}: Ray cannot connect: {shorten(answer['error'], 200)}")
    if answer["cpus"] < 1:
        raise UserError(f"executor.address={address}: the cluster has no CPU for a worker; add a node with some")
