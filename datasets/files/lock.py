"""A lock that the processes of a machine wait for; whoever waits can be told who holds it."""

import fcntl
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from driveforge.datasets.errors import UserError, shorten


@contextmanager
def file_lock(
    path: Path, notify: Callable[[str], None] = lambda line: None, *, blocking: bool = True
) -> Iterator[None]:
    """Waits until no other process holds the file ``path``, which is made with its folder and goes when let go of.

    The kernel keeps the lock, so a killed process lets go. ``notify`` is given one line about the holder before a wait.
    A UserError where ``path`` cannot be written or locked, or is held and ``blocking`` is false.
    """
    try:
        file = _acquire(path, notify, blocking)
    except OSError as error:
        raise UserError(f"{path} cannot be locked ({error.strerror}): is its folder writable?") from error
    with file:
        try:
            yield
        finally:
            # Still locked: whoever waits for this very file sees that it has gone, and makes another.
            with suppress(OSError):
                path.unlink()


def _acquire(path: Path, notify: Callable[[str], None], blocking: bool) -> IO[str]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            _lock(file, notify, blocking)
        except BaseException:
            file.close()
            raise
        if is_same_file(path, file):
            _write_holder(file)
            return file
        file.close()


def _lock(file: IO[str], notify: Callable[[str], None], blocking: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not blocking:
            raise UserError(f"{_describe_holder(file)} holds {file.name}; run this again when it has ended") from None
        notify(f"waiting for {_describe_holder(file)}, which holds {file.name}")
        fcntl.flock(file, fcntl.LOCK_EX)


def is_same_file(path: Path, file: IO[Any]) -> bool:
    """Whether the file that was locked is the one under its name, and not one that was removed meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _write_holder(file: IO[str]) -> None:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    file.truncate(0)
    json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": since, "command": command}, file)
    file.flush()


def _describe_holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        description = f"{holder['command']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
    return shorten(description, 160)
