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

from driveforge.datasets.errors import UserError, shown


@contextmanager
def held(path: Path, say: Callable[[str], None] = lambda line: None, *, waits: bool = True) -> Iterator[None]:
    """Waits until no other process holds the file ``path``, which is made with its folder and goes when let go of.

    The kernel keeps the lock, so a killed process lets go. ``say`` is given one line about the holder before a wait.
    A UserError where ``path`` cannot be written or locked, or is held and ``waits`` is false.
    """
    try:
        file = _acquire(path, say, waits)
    except OSError as error:
        raise UserError(f"{path} cannot be locked ({error.strerror}): is its folder writable?") from error
    with file:
        try:
            yield
        finally:
            # Still locked: whoever waits for this very file sees that it has gone, and makes another.
            with suppress(OSError):
                path.unlink()


def _acquire(path: Path, say: Callable[[str], None], waits: bool) -> IO[str]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            _lock(file, say, waits)
        except BaseException:
            file.close()
            raise
        if is_at(path, file):
            _sign(file)
            return file
        file.close()


def _lock(file: IO[str], say: Callable[[str], None], waits: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not waits:
            raise UserError(f"{_holder(file)} holds {file.name}; run this again when it has ended") from None
        say(f"waiting for {_holder(file)}, which holds {file.name}")
        fcntl.flock(file, fcntl.LOCK_EX)


def is_at(path: Path, file: IO[Any]) -> bool:
    """Whether the file that was locked is the one under its name, and not one that was removed meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _sign(file: IO[str]) -> None:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    file.truncate(0)
    json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": since, "command": command}, file)
    file.flush()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        told = f"{holder['command']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
    return shown(told, 160)
