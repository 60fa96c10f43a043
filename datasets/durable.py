"""Files that survive a crash: there whole or not at all, known to be on the disk, and told by their hash."""

import hashlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, over any older file, in one step."""
    scratch = _written(path, content)
    os.replace(scratch, path)
    sync_folder(path.parent)


def create_file(path: Path, content: bytes) -> bool:
    """Put ``content`` at ``path`` unless something is there already; False if it is. Of many callers one wins."""
    scratch = _written(path, content)
    try:
        os.link(scratch, path)
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Of the bytes of a file, in hex; a file of any size is read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _written(path: Path, content: bytes) -> Path:
    """A synced file beside ``path`` that holds ``content``; its name begins with a dot and ends in ``.tmp``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
    return Path(file.name)
