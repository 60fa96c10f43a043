"""Stores that cannot be used are reported within seconds, in one line that says what to do."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.location import is_store_url, normalized_url
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.pipelines.processes.environment import environment
from tests.object_stores import free_port


def require_refused(url: str, pattern: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=pattern) as raised:
        RemoteStore(url).require_reachable()
    assert time.monotonic() - start < 30 and len(str(raised.value).splitlines()) == 1


def test_no_bucket(store_url: str) -> None:
    require_refused("s3://absent/run", r"^s3://absent/run: the bucket does not exist; create it")


def test_no_connection(store_url: str) -> None:
    port = free_port()
    with environment({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}):
        require_refused("s3://bucket/run", rf"^s3://bucket/run: no connection at http://127\.0\.0\.1:{port}; check")


@contextmanager
def refusing_server(status: int, body: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_access_denied(store_url: str) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    with refusing_server(403, body) as port, environment({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}):
        require_refused("s3://bucket/run-404", r"^s3://bucket/run-404: access denied; check AWS_ACCESS_KEY_ID")


def test_no_credentials(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with refusing_server(404, b"") as port, environment({"AWS_METADATA_ENDPOINT": f"http://127.0.0.1:{port}"}):
        require_refused("s3://bucket/run", r"^s3://bucket/run: no credentials; set AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("url", ["s3://bucket/a/../b", "s3://", "s3:///a", "s3://bucket//a", "s3://bucket/.hidden"])
def test_a_url_that_leaves_its_folder_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="is not the URL of a folder in a store"):
        normalized_url(url)


def test_urls_are_told_from_paths() -> None:
    assert normalized_url("s3://bucket/runs/a/") == "s3://bucket/runs/a"
    assert is_store_url("gs://bucket") and is_store_url("az://container/a")
    assert not is_store_url("runs/s3") and not is_store_url("s3:/bucket")
