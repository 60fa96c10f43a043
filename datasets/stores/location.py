"""URLs of object stores, and the folder on this machine that caches their files.

The cache is ``$DRIVEFORGE_CACHE``, by default ``~/.cache/driveforge``. A folder below it mirrors each URL.
"""

import os
import re
from pathlib import Path

from driveforge.datasets.errors import UserError

# A working copy of a run folder holds this record.
STORE_RECORD = ".store.json"
_URL = re.compile(r"(s3|gs|az)://[^/]")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+@-]*")


def is_store_url(text: str) -> bool:
    """Whether ``text`` is the URL of an object store rather than a path."""
    return bool(_URL.match(text))


def normalized_url(text: str) -> str:
    """``text`` without slashes at its end; raises UserError if it is not the URL of a folder in a store."""
    scheme, _, rest = text.rstrip("/").partition("://")
    parts = rest.split("/")
    if not is_store_url(text) or not all(_PART.fullmatch(part) for part in parts):
        raise UserError(f"{text} is not the URL of a folder in a store, such as s3://bucket/runs/a")
    return f"{scheme}://{rest}"


def cache_folder(url: str) -> Path:
    """The folder on this machine that caches the files under ``url``."""
    scheme, _, rest = url.partition("://")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("DRIVEFORGE_CACHE") or Path(home, "driveforge"))
    return root.absolute() / scheme / rest


def endpoint_is_plain() -> bool:
    """Whether the environment names an endpoint without encryption, such as a server on this machine."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
    return any(os.environ.get(name, "").startswith("http://") for name in names)
