"""A small S3 server that keeps objects as files, and so survives a kill: ``python -m tests.disk_s3_server PORT DIR``.

It has what the stores use: conditional puts, multipart uploads, listings and batch deletes. With a third word it
receives that many bytes per second, so that it can be killed in the middle of an upload; what it has received so far is
in a file ``.receiving-*``.
"""

import os
import re
import sys
import threading
import time
import uuid
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_BLOCK = 1 << 16
# Conditions are checked and objects replaced by one thread at a time.
_lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    bytes_per_second: float

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._get(with_body=False)

    def do_GET(self) -> None:
        if "list-type" in self._query():
            self._list()
        else:
            self._get(with_body=True)

    def do_PUT(self) -> None:
        received, query = self._receive(), self._query()
        if "uploadId" in query:
            part = self.root / ".uploads" / query["uploadId"][0] / f"{int(query['partNumber'][0]):05d}"
            os.replace(received, part)
            self._answer(200, headers={"ETag": _e_tag(part)})
            return
        path = self._path()
        with _lock:
            known = _e_tag(path) if path.is_file() else None
            wanted = self.headers.get("If-Match")
            if (self.headers.get("If-None-Match") == "*" and known) or (wanted and wanted != known):
                received.unlink()
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(received, path)
        self._answer(200, headers={"ETag": _e_tag(path)})

    def do_POST(self) -> None:
        body, query = self._receive(), self._query()
        content = body.read_text()
        body.unlink()
        if "uploads" in query:
            upload = uuid.uuid4().hex
            (self.root / ".uploads" / upload).mkdir(parents=True)
            self._answer(200, f"<R><Bucket>b</Bucket><Key>k</Key><UploadId>{upload}</UploadId></R>".encode())
        elif "delete" in query:
            keys = [unquote(key) for key in re.findall(r"<Key>(.*?)</Key>", content)]
            for key in keys:
                (self._bucket() / key).unlink(missing_ok=True)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        else:
            self._complete(query["uploadId"][0])

    def do_DELETE(self) -> None:
        self._path().unlink(missing_ok=True)
        self._answer(204)

    def _complete(self, upload: str) -> None:
        parts = sorted((self.root / ".uploads" / upload).iterdir())
        whole = self.root / f".receiving-{uuid.uuid4().hex}"
        with whole.open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(whole, path)
        self._answer(200, f"<R><ETag>{escape(_e_tag(path))}</ETag></R>".encode())

    def _get(self, *, with_body: bool) -> None:
        path = self._path()
        if not path.is_file():
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>" if with_body else b"")
            return
        content = path.read_bytes()
        headers = {"ETag": _e_tag(path), "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True)}
        self._answer(200, content, headers, with_body=with_body)

    def _list(self) -> None:
        query, bucket = self._query(), self._bucket()
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        found, folders = [], set()
        for path in sorted((bucket / prefix.rpartition("/")[0]).rglob("*")):
            key = path.relative_to(bucket).as_posix()
            if not path.is_file() or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            with suppress(FileNotFoundError):  # deleted meanwhile
                modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(path.stat().st_mtime))
                found.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>{modified}</LastModified>"
                    f"<ETag>{escape(_e_tag(path))}</ETag><Size>{path.stat().st_size}</Size></Contents>"
                )
        prefixes = [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)]
        body = "<ListBucketResult><IsTruncated>false</IsTruncated>" + "".join([*found, *prefixes])
        self._answer(200, f"{body}</ListBucketResult>".encode())

    def _receive(self) -> Path:
        """The body, in a file that grows while it arrives."""
        remaining, path = int(self.headers.get("Content-Length", 0)), self.root / f".receiving-{uuid.uuid4().hex}"
        with path.open("wb", buffering=0) as file:
            while remaining:
                block = self.rfile.read(min(_BLOCK, remaining))
                if not block:
                    raise ConnectionError
                file.write(block)
                remaining -= len(block)
                time.sleep(len(block) / self.bytes_per_second)
        return path

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    def _bucket(self) -> Path:
        return self.root / urlsplit(self.path).path.split("/")[1]

    def _path(self) -> Path:
        return self.root / unquote(urlsplit(self.path).path).lstrip("/")


def _e_tag(path: Path) -> str:
    """Every write makes a new file, so that its inode and time name the version."""
    status = path.stat()
    return f'"{status.st_ino:x}-{status.st_mtime_ns:x}"'


if __name__ == "__main__":
    Handler.root = Path(sys.argv[2])
    Handler.bytes_per_second = float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")
    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
