"""A store in an object store, through obstore: Amazon S3 and compatible servers, Google Cloud Storage, Azure."""

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import WriteError, atomic_file, make_folder
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.stores.errors import NoConnectionError, StoreError, translate_store_errors
from driveforge.datasets.stores.interface import StoredFile
from driveforge.datasets.stores.location import cache_folder, endpoint_is_plain

# Requests in flight when many small objects are read.
_NUM_THREADS = 32
_CHUNK_BYTES = 8 << 20
# Requests are repeated for so long: a server may be restarted meanwhile.
_RETRY_SECONDS = 60.0
# The maximum of one request to S3.
_DELETE_BATCH = 1000


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """The objects under ``url``, such as ``s3://bucket/runs/a/candidates``; copies are cached on this machine."""

    url: str

    @property
    def folder(self) -> Path:
        return cache_folder(self.url)

    @property
    def is_remote(self) -> bool:
        return True

    def describe(self, name: str = "") -> str:
        return f"{self.url}/{name}" if name else self.url

    def files(self, folder: str = "") -> Iterator[StoredFile]:
        start = f"{folder}/" if folder else ""
        # Listing with a delimiter would hold all names in memory; hidden folders of ours hold few files.
        for entry in self.walk(folder):
            name = entry["path"][len(start) :]
            if "/" not in name and not name.startswith("."):
                yield StoredFile(name=name, num_bytes=entry["size"], modified=entry["last_modified"].timestamp())

    def names(self, folder: str = "") -> Iterator[str]:
        return (file.name for file in self.files(folder))

    def walk(self, folder: str = "") -> Iterator[dict[str, Any]]:
        """Path, size, ETag and time of every object below ``folder``."""
        import obstore

        with translate_store_errors(self.describe(folder)):
            for batch in obstore.list(_client(self.url), f"{folder}/" if folder else None):
                for entry in batch:
                    yield {**entry, "e_tag": _bare(entry["e_tag"])}

    def entries(self) -> tuple[dict[str, str], list[str]]:
        """The ETags of the objects directly under the URL, by name, and the names of the folders there."""
        import obstore

        with translate_store_errors(self.url):
            found = obstore.list_with_delimiter(_client(self.url))
        files = {entry["path"]: _bare(entry["e_tag"]) for entry in found["objects"]}
        return files, [folder.rstrip("/") for folder in found["common_prefixes"]]

    def exists(self, name: str) -> bool:
        import obstore

        try:
            with translate_store_errors(self.describe(name)):
                obstore.head(_client(self.url), name)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        import obstore

        try:
            with translate_store_errors(self.describe(name)):
                return bytes(obstore.get(_client(self.url), name).bytes())
        except FileNotFoundError:
            raise UserError(f"{self.describe(name)}: cannot be read (no such object)") from None

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        with ThreadPoolExecutor(_NUM_THREADS, "reading") as pool:
            yield from pool.map(self.read, names)

    def write(self, name: str, content: bytes) -> None:
        self._put(name, content)

    def create(self, name: str, content: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        try:
            self._put(name, content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, name: str, file: Path, e_tag: str | None) -> str | None:
        """Upload a file over the object with ``e_tag``, or as a new object if that is None; returns the new ETag.

        None if another process changed or created the object meanwhile.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            mode = "create" if e_tag is None else {"e_tag": f'"{e_tag}"'}
            return _bare(self._put(name, file, mode=mode)["e_tag"])
        except (AlreadyExistsError, PreconditionError):
            return None

    def _put(self, name: str, content: bytes | Path, mode: Any = None) -> Any:
        import obstore

        with translate_store_errors(self.describe(name)):
            # A conditional upload is a single request.
            return obstore.put(_client(self.url), name, content, mode=mode, use_multipart=False if mode else None)

    def fetch(self, name: str, *, again: bool = False) -> Path:
        path = self.folder / name
        if path.is_file() and not again:
            return path
        try:
            self.download(name, path)
        except FileNotFoundError:
            path.unlink(missing_ok=True)
        return path

    def download(self, name: str, path: Path) -> str:
        """Write the object to ``path`` atomically; returns its ETag. Raises FileNotFoundError if there is none."""
        import obstore

        with translate_store_errors(self.describe(name)):
            found = obstore.get(_client(self.url), name)
            with atomic_file(path) as file:
                for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
                    file.write(chunk)
            return _bare(found.meta["e_tag"])

    def fetch_all(self) -> Path:
        """The local folder with copies of all objects; those that are there in the right size are kept."""
        make_folder(self.folder)
        with file_lock(self.folder / ".fetch.lock"):  # once on a machine with several workers
            for entry in list(self.walk()):
                path = self.folder / entry["path"]
                if not path.is_file() or path.stat().st_size != entry["size"]:
                    self.download(entry["path"], path)
        return self.folder

    def delete(self, names: Iterable[str]) -> None:
        pending = list(names)
        for start in range(0, len(pending), _DELETE_BATCH):
            batch = pending[start : start + _DELETE_BATCH]
            self._delete(batch)
            for name in batch:
                (self.folder / name).unlink(missing_ok=True)

    def _delete(self, names: Sequence[str]) -> None:
        """Delete objects. Clients do not repeat the request, a POST, by themselves, although that is harmless."""
        import obstore

        deadline = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                with translate_store_errors(self.describe(names[0])):
                    obstore.delete(_client(self.url), names)
                return
            except NoConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            except FileNotFoundError:  # stores other than S3 refuse to delete what does not exist
                if len(names) > 1:
                    for name in names:
                        self._delete([name])
                return

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A file without a name in the temporary folder, so that nothing is left even after a kill."""
        with tempfile.TemporaryFile(prefix=f"driveforge-{name}") as file:
            yield Path(f"/proc/self/fd/{file.fileno()}")

    @contextmanager
    def stage(self, file: Path) -> Iterator["_StagedUpload"]:
        yield _StagedUpload(store=self, path=file)

    def require_reachable(self) -> None:
        """Raise StoreError within seconds if the store cannot be reached or listed."""
        import obstore

        with translate_store_errors(self.url):
            client = _open_client(self.url, max_retries=2, seconds=4)
            next(iter(obstore.list(client, chunk_size=1)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _StagedUpload:
    store: RemoteStore
    path: Path

    def publish(self, name: str) -> None:
        import obstore

        self.store._put(name, self.path)
        with translate_store_errors(self.store.describe(name)):
            uploaded = obstore.head(_client(self.store.url), name)["size"]
        if uploaded != self.path.stat().st_size:
            raise StoreError(f"{self.store.describe(name)}: {uploaded} bytes of {self.path.stat().st_size} were stored")


def _bare(e_tag: str | None) -> str:
    """An ETag without quotes, which Azure leaves out in listings."""
    return (e_tag or "").strip('"')


@cache
def _client(url: str) -> Any:
    """The client of this process."""
    return _open_client(url, max_retries=1000, seconds=_RETRY_SECONDS)


def _open_client(url: str, *, max_retries: int, seconds: float) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise WriteError(f"{url}: obstore cannot be imported ({error}); install it") from error
    backoff = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2}
    retry: Any = {"max_retries": max_retries, "retry_timeout": timedelta(seconds=seconds), "backoff": backoff}
    options: Any = {"connect_timeout": "5s", "timeout": "300s", "allow_http": endpoint_is_plain()}
    try:
        with translate_store_errors(url):
            return from_url(url, client_options=options, retry_config=retry)
    except (ValueError, TypeError) as error:
        raise UserError(f"{url} is not the URL of a store, such as s3://bucket/folder ({error})") from None
