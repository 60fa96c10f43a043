"""Progress of long work: bars on a terminal, otherwise a log line every 30 seconds."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich import get_console
from rich.console import Console
from rich.progress import Progress

Item = TypeVar("Item")

LOG_INTERVAL_S = 30.0
# The work in progress, innermost last: bars, and messages for work that cannot be counted.
_active: list[Progress | str] = []


def track(
    items: Iterable[Item],
    description: str,
    total: float | None = None,
    *,
    disable: bool = False,
    console: Console | None = None,
) -> Iterator[Item]:
    """Iterate over ``items`` with a progress bar."""
    with show_progress(Progress(console=console, disable=disable)) as progress:
        yield from progress.track(items, total=total, description=description)


@contextmanager
def show_progress(progress: Progress) -> Iterator[Progress]:
    """Show ``progress`` in the block."""
    with progress, _registered(progress):
        yield progress


@contextmanager
def show_status(message: str) -> Iterator[None]:
    """Show ``message`` during the block, for work that cannot be counted."""
    with get_console().status(message), _registered(message):
        yield


@contextmanager
def _registered(item: Progress | str) -> Iterator[None]:
    _active.append(item)
    try:
        yield
    finally:
        _active.remove(item)


@contextmanager
def log_progress(name: str) -> Iterator[None]:
    """If standard output is not a terminal, log the progress of the block to stderr every 30 s."""
    if sys.stdout.isatty():
        yield
        return
    has_ended = threading.Event()
    threading.Thread(target=_log_periodically, args=(name, has_ended), daemon=True).start()
    try:
        yield
    finally:
        has_ended.set()


def _log_periodically(name: str, has_ended: threading.Event) -> None:
    started = time.monotonic()
    while not has_ended.wait(LOG_INTERVAL_S):
        seconds = round(time.monotonic() - started)
        print(
            f"{name}: {_describe_current() or 'running'}, {seconds // 60} min {seconds % 60} s",
            file=sys.stderr,
            flush=True,
        )


def _describe_current() -> str:
    """The innermost work, for example ``Encoding 34 of 120``."""
    for item in reversed(_active):
        if isinstance(item, str):
            return item
        for task in reversed(item.tasks):
            if not item.disable:
                total = "" if task.total is None else f" of {task.total:g}"
                return f"{task.description or 'Generating'} {task.completed:g}{total}"
    return ""
