"""The review server: the page, its data and media, and decisions, on loopback only."""

import json
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from driveforge.datasets.errors import UserError
from driveforge.pipelines.review.clip_table import ClipTable
from driveforge.pipelines.review.guard import Guard
from driveforge.pipelines.review.media import THUMBNAIL, ClipMedia, NotFound
from driveforge.pipelines.review.page_files import PAGE_FILES, data_script, dump, page_html
from driveforge.pipelines.review.session import ReviewSession

HOST = "127.0.0.1"
MAX_BODY_BYTES = 64_000
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_MEDIA_TYPES = {
    "css": "text/css",
    "mjs": "text/javascript",
    "svg": "image/svg+xml",
    "mp4": "video/mp4",
    "jpg": "image/jpeg",
    "png": "image/png",
}
# A clip never changes, and the address changes with every start.
_MEDIA_HEADERS = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=86400"}


@dataclass(kw_only=True, slots=True)
class OpenReview:
    """What the server shows; ``table``, ``media`` and ``session`` are replaced when the gate has run again.

    ``apply`` runs the gate with the decisions and returns the new table.
    """

    title: str
    reviewer: str
    table: ClipTable
    media: ClipMedia
    session: ReviewSession
    reload: Callable[[], "OpenReview"]
    apply: Callable[[], None]

    def replace_by(self, other: "OpenReview") -> None:
        self.table, self.media, self.session = other.table, other.media, other.session


def make_app(review: OpenReview, *, token: str, port: int) -> Guard:
    """The application that serves ``review`` below ``http://127.0.0.1:<port>/<token>/``."""
    routes = _Routes(review)
    app = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/data/table.mjs", routes.table),
            Route("/data/clips/{clip}.mjs", routes.clip),
            Route("/data/overlays/{clip}/{name}.mjs", routes.overlay),
            Route("/media/{clip}/sheet.png", routes.sheet),
            Route("/media/{clip}/source/{name}", routes.source),
            Route("/media/{clip}/{name}", routes.member),
            Route("/api/updates", routes.updates),
            Route("/api/decisions", routes.decide, methods=["POST"]),
            Route("/api/apply", routes.apply, methods=["POST"]),
            Route("/{name}", routes.page_file),
        ],
        exception_handlers={UserError: _answer_error},
    )
    return Guard(app, token=token, hosts=[f"{HOST}:{port}", f"localhost:{port}"])


async def _answer_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404 if isinstance(error, NotFound) else 400)


class _Routes:
    def __init__(self, review: OpenReview) -> None:
        self._review = review

    async def page(self, request: Request) -> Response:
        return Response(page_html(self._review.title, is_served=True), media_type="text/html")

    async def page_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in PAGE_FILES:
            raise NotFound("there is no such file")
        content = resources.files("driveforge.pipelines.review.page").joinpath(name).read_bytes()
        return Response(content, media_type=_media_type(name))

    async def table(self, request: Request) -> Response:
        return await self._script("table", self._describe_table)

    def _describe_table(self) -> bytes:
        session = self._review.session
        names = {"title": self._review.title, "reviewer": self._review.reviewer}
        offers = {"served": True, "sheets": True, "sources": True}
        added = dump({**names, **offers, "sample": session.sample, "review": session.report()})
        return self._review.table.described[:-1] + b"," + added[1:]

    async def clip(self, request: Request) -> Response:
        clip = request.path_params["clip"]
        return await self._script(f"clips/{clip}", lambda: self._review.media.describe(clip))

    async def overlay(self, request: Request) -> Response:
        clip, name = request.path_params["clip"], request.path_params["name"]
        return await self._script(f"overlays/{clip}/{name}", lambda: self._review.media.overlay(clip, name))

    async def _script(self, name: str, make: Callable[[], bytes]) -> Response:
        content = await run_in_threadpool(make)
        return Response(data_script(name, content), media_type=_MEDIA_TYPES["mjs"])

    async def sheet(self, request: Request) -> Response:
        content = await run_in_threadpool(self._review.media.sheet, request.path_params["clip"])
        return Response(content, media_type=_MEDIA_TYPES["png"])

    async def source(self, request: Request) -> Response:
        parameters = request.path_params
        content = await run_in_threadpool(self._review.media.source_video, parameters["clip"], parameters["name"])
        return _ranged(content, request)

    async def member(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != THUMBNAIL and not name.endswith(".mp4"):
            raise NotFound("only videos and the thumbnail of a clip are served")
        content = await run_in_threadpool(self._review.media.read_member, request.path_params["clip"], name)
        return _ranged(content, request)

    async def updates(self, request: Request) -> Response:
        query = request.query_params
        since = int(query["since"]) if query.get("since", "").isdecimal() else 0
        report = self._review.session.report
        return JSONResponse(await run_in_threadpool(report, since, query.get("reviewer", ""), query.get("clip", "")))

    async def decide(self, request: Request) -> Response:
        record = await _read_json(request)
        fields = {"clip": str, "reviewer": str, "verdict": str, "note": str, "blind": bool}
        if set(record) != set(fields) or any(type(record[key]) is not kind for key, kind in fields.items()):
            raise UserError(f"a decision has the texts and the flag {', '.join(fields)}")
        await run_in_threadpool(lambda: self._review.session.decide(**record))
        return JSONResponse({"saved": True})

    async def apply(self, request: Request) -> Response:
        def work() -> int:
            num_pending = len(self._review.session.list_pending(self._review.session.read()))
            self._review.apply()
            self._review.replace_by(self._review.reload())
            return num_pending

        return JSONResponse({"applied": await run_in_threadpool(work)})


async def _read_json(request: Request) -> dict[str, Any]:
    # A form of another site cannot send this type without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UserError("the content must be application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise UserError(f"a decision has at most {MAX_BODY_BYTES} bytes")
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError("the content is not JSON") from None
    if not isinstance(record, dict):
        raise UserError("the content must be a JSON object")
    return record


def _ranged(content: bytes, request: Request) -> Response:
    """All of a file, or the one range of bytes that the request names: a browser seeks in a video with ranges."""
    media_type = _media_type(request.url.path)
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted is None or not any(wanted.groups()):
        return Response(content, media_type=media_type, headers=_MEDIA_HEADERS)
    first, last = wanted.groups()
    start = int(first) if first else max(0, len(content) - int(last))
    end = min(int(last), len(content) - 1) if first and last else len(content) - 1
    if start > end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
    headers = {**_MEDIA_HEADERS, "Content-Range": f"bytes {start}-{end}/{len(content)}"}
    return Response(content[start : end + 1], 206, media_type=media_type, headers=headers)


def _media_type(name: str) -> str:
    return _MEDIA_TYPES[name.rpartition(".")[2]]


def bind(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 is any free one. Raises UserError if the port cannot be used."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        sock.listen(64)  # a request that comes before the server runs waits for it
    except (OSError, OverflowError) as error:
        sock.close()
        raise UserError(f"port {port} cannot be used ({error}); choose another with --port") from None
    return sock


def serve(app: Callable[..., Awaitable[None]], sock: socket.socket) -> None:
    """Serve until the process is interrupted."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
    uvicorn.Server(config).run(sockets=[sock])
