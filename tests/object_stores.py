"""Object stores on this machine, in processes of their own: moto, an S3 server that keeps objects on disk, Azurite."""

import base64
import hmac
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
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


# The account of Microsoft's emulator, whose key is public.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def azure_server(command: str, folder: Path) -> Iterator[dict[str, str]]:
    """Azurite, started by ``command``, with an empty container; yields the environment of its clients."""
    port = free_port()
    words = ["--silent", "--skipApiVersionCheck", "--location", str(folder), "--blobPort", str(port)]
    server = subprocess.Popen([command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(port)
        create_container(port)
        yield {
            "AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}",
        }
    finally:
        server.kill()
        server.wait()


def create_container(port: int) -> None:
    path, headers = f"/{AZURE_ACCOUNT}/{BUCKET}", {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = "".join(f"{name}:{value}\n" for name, value in headers.items())
    text = f"PUT{chr(10) * 12}{signed}/{AZURE_ACCOUNT}{path}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), "sha256")).decode()
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{signature}"
    url = f"http://127.0.0.1:{port}{path}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).read()


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
