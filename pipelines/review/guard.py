"""What admits a request to the page: the token in its address, this machine's address as host, and no other origin.

The server listens on loopback, but any web page that the reviewer has open may send requests there, also under a name
of its own that it resolves to 127.0.0.1 (DNS rebinding). Such a page neither knows the token nor passes as this host.
"""

import secrets
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing but the page's own files is loaded or run, so that markup in a note or a name is never more than text.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address has the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_token() -> str:
    return secrets.token_urlsafe(24)


class Guard:
    """ASGI middleware: passes requests below ``/<token>/`` on without that prefix, and refuses all others."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        self._app, self._token, self._hosts = app, token, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if problem := self._find_problem(scope):
            await PlainTextResponse(f"refused: {problem}\n", 403, HEADERS)(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        path = scope["path"].removeprefix(f"/{self._token}")
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send_guarded)

    def _find_problem(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            return "the host is not this server's address"
        if origin is not None and origin not in {f"http://{name}" for name in self._hosts}:
            return "the request is from another origin"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "the request is from another site"
        given = scope["path"].removeprefix("/").partition("/")
        if not secrets.compare_digest(given[0].encode(), self._token.encode()) or given[1] != "/":
            return "the address has no valid token; open the address that `driveforge review` prints"
        return ""
