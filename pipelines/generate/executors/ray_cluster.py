"""The Ray cluster of a run: a temporary one on this machine, or a connection to a running cluster."""

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
# Frames stay in their worker, so the object store needs only Ray's minimum.
OBJECT_STORE_BYTES = 100 * 2**20
LOGGING_OPTIONS = {"log_to_driver": False, "logging_level": "error", "namespace": "driveforge"}
# A mistyped address is reported after the sum of both at most, less than half a minute.
_CONNECT_SECONDS, _RESPONSE_SECONDS = 5.0, 20.0
# ray.init() retries an unresponsive cluster for 15 minutes and cannot be stopped, so a subprocess calls it first.
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
    """A Ray connection inside the block; raises UserError within 30 s if the cluster cannot be used."""
    with _remote_cluster(settings.address) if settings.address else _local_cluster(settings.workers):
        yield


@contextmanager
def _local_cluster(workers: int) -> Iterator[None]:
    """A cluster that exists inside the block, listens on the loopback address only and requires a token."""
    _force_loopback()
    # Without a token here, Ray writes one to the home directory.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    # Ray's agents take seconds to notice that their raylet has ended.
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
                # Ray puts the interpreter path unquoted into a shell command; paths with spaces need quotes.
                runtime_env={
                    "env_vars": {**THREAD_ENVIRONMENT, "PYTHONPATH": path},
                    "py_executable": shlex.quote(sys.executable),
                },
                _node_ip_address="127.0.0.1",
                **LOGGING_OPTIONS,
            )
    except Exception as error:  # Ray raises a plain Exception if a node does not start
        raise UserError(f"Ray cannot start: {shorten(error, 150)}; executor=local does not need Ray") from error


@contextmanager
def _interruptible_start() -> Iterator[None]:
    """Start Ray inside the block; restores our signal handlers, since Ray's SIGTERM handler exits with status 15."""
    try:
        with preserve_handlers():
            yield
    except SystemExit:
        signal.raise_signal(signal.SIGTERM)  # pass it on to our handler
        raise


@contextmanager
def _remote_cluster(address: str) -> Iterator[None]:
    """Connect to a running cluster; sends our packages to its nodes, which must have the dependencies installed."""
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
    """Keep Ray on 127.0.0.1: it replaces that by the external address unless this is set before its import."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def require_listener(address: str) -> None:
    """Raise UserError if no process listens at HOST:PORT; other forms, such as auto, are not checked."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address:
        return
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"executor.address={address} is not HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"executor.address={address}: no process listens there ({error.strerror or error}); "
            "start the cluster with `ray start --head`, or unset executor.address to start a local one"
        ) from error


def _require_workers(address: str) -> None:
    """Raise UserError if no Ray cluster of this version responds, or if it has no CPU for a worker."""
    command = [sys.executable, "-c", _CONNECT_SCRIPT, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RESPONSE_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"executor.address={address}: no Ray cluster responds there within {_RESPONSE_SECONDS:.0f} s; "
            "check the port, and that `ray status` works on the head node"
        ) from None
    answers = [line for line in done.stdout.splitlines() if line.startswith("answer ")]
    answer: dict[str, Any] = {"error": done.stderr or "no response"}
    if answers:
        answer = json.loads(answers[0].removeprefix("answer "))
    if "error" in answer:
        raise UserError(f"executor.address={address}: Ray cannot connect: {shorten(answer['error'], 200)}")
    if answer["cpus"] < 1:
        raise UserError(f"executor.address={address}: the cluster has no CPU for a worker; add a node")
