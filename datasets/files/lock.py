"""A lock between the processes of a machine that names its holder."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from driveforge.datasets.errors import UserError, shorten

if TYPE_CHECKING:
    from filelock import BaseFileLock


class LockedError(UserError):
    """Another process holds the lock."""


@contextmanager
def file_lock(
    path: Path, notify: Callable[[str], None] = lambda line: None, *, blocking: bool = True
) -> Iterator[None]:
    """Hold the lock file ``path``, which is created with its folder and removed at the end of the block.

    The kernel releases the lock of a killed process. Before waiting, ``notify`` is called with one line that names the
    holder. Raises UserError if ``path`` cannot be written or locked, LockedError if it is locked and not ``blocking``.
    """
    from filelock import FileLock  # imported here: settings modules import this one, and --help must be fast

    locked: list[int] = []  # the inode

    def on_acquired(descriptor: int) -> None:
        _write_holder(descriptor)
        locked.append(os.fstat(descriptor).st_ino)

    lock = FileLock(path, on_acquired=on_acquired)
    try:
        _acquire(lock, path, notify, blocking)
    except OSError as error:
        raise UserError(f"{path} cannot be locked ({error.strerror}): is its folder writable?") from error
    try:
        yield
    finally:
        # Removed while it is locked: a waiting FileLock ignores a lock on a removed file and creates a new one. If
        # somebody removed the folder meanwhile, the file may already be the new one of another process.
        with suppress(OSError):
            if path.stat().st_ino == locked[-1]:
                path.unlink()
        lock.release()


def _acquire(lock: "BaseFileLock", path: Path, notify: Callable[[str], None], blocking: bool) -> None:
    from filelock import Timeout

    while not lock.is_locked:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if not blocking:
                raise LockedError(f"{describe_holder(path)} holds {path}; run this again when it has ended") from None
            notify(f"waiting for {describe_holder(path)}, which holds {path}")
            # The holder may remove the folder too when it ends; then start over.
            with suppress(FileNotFoundError):
                lock.acquire()


def _write_holder(descriptor: int) -> None:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "command": command}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def describe_holder(path: Path) -> str:
    """The command, process, host and start that the lock file ``path`` names; it remains there after a kill."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        description = f"{holder['command']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    return shorten(description, 160)
