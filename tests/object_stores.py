"""S3 servers on this machine, in processes of their own: moto, and one that keeps objects on disk."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

BUCKET = "bucket"
ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def client_environment(port: int) -> dict[str, str]:
    """The environment of a process that uses the server on ``port``."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A server with an empty bucket; yields the environment of its clients."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(port)
        create_bucket(port)
        yield client_environment(port)
    finally:
        server.kill()
        server.wait()


class DiskServer:
    """A server that keeps objects below ``root`` (``tests.disk_s3_server``), and that can be killed and restarted."""

    def __init__(self, root: Path, bytes_per_second: float = float("inf")) -> None:
        self.root, self._port, self._speed = root, free_port(), bytes_per_second
        self.environment = client_environment(self._port)
        self.start()

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        words = ["-m", "tests.disk_s3_server", str(self._port), str(self.root), str(self._speed)]
        self._process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.DEVNULL)
        wait_until_listening(self._port)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def num_received(self) -> int:
        """The bytes of uploads in progress."""
        sizes = []
        for path in self.root.glob(".receiving-*"):
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return sum(sizes)


def wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)


def create_bucket(port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", data=b"", method="PUT")
    urllib.request.urlopen(request).read()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in the block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
