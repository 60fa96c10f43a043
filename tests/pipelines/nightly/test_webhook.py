"""The webhook, against a local server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.nightly import webhook
from driveforge.pipelines.nightly.webhook import find_webhook, post_summary

SUMMARY = {"status": 3, "text": "refused: worse on orbit"}


class Receiver(HTTPServer):
    status, hangs = 200, False
    received: list[Any]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        if server.hangs:
            threading.Event().wait(2.0)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(("127.0.0.1", 0), Handler) as server:
        server.received = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def address(receiver: Receiver) -> str:
    return f"http://127.0.0.1:{receiver.server_port}/secret-token"


def test_the_summary_is_posted_as_json(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    post_summary(address(receiver), SUMMARY)
    assert receiver.received == [("/secret-token", "application/json", SUMMARY)]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("failure", ["status", "hangs", "closed"])
def test_a_failure_is_one_line_without_the_address(
    failure: str, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.3)
    target = address(receiver)
    if failure == "status":
        receiver.status = 500
    elif failure == "hangs":
        receiver.hangs = True
    else:
        target = "http://127.0.0.1:1/secret-token"
    post_summary(target, SUMMARY)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "did not take the summary" in said and "secret" not in said


def test_the_address_is_the_setting_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(webhook.ADDRESS_VARIABLE, raising=False)
    assert find_webhook(None) is None
    monkeypatch.setenv(webhook.ADDRESS_VARIABLE, "https://a/b")
    assert find_webhook(None) == "https://a/b" and find_webhook("http://c/d") == "http://c/d"


@pytest.mark.parametrize("wrong", ["file:///etc/passwd", "hooks.example.com/x", "https://"])
def test_another_kind_of_address_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match=r"must be an address such as https://HOST/PATH"):
        find_webhook(wrong)
