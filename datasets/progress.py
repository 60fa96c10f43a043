"""How far work is: bars on a terminal, and a line now and then where there is none."""

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

LINE_SECONDS = 30.0
# What is going on, the innermost last: bars, and words for what cannot be counted.
_current: list[Progress | str] = []


def track(
    items: Iterable[Item],
    description: str,
    total: float | None = None,
    *,
    disable: bool = False,
    console: Console | None = None,
) -> Iterator[Item]:
    """The items, under a bar that counts them."""
    with shown(Progress(console=console, disable=disable)) as progress:
        yield from progress.track(items, total=total, description=description)


@contextmanager
def shown(progress: Progress) -> Iterator[Progress]:
    """Show ``progress`` in the block."""
    with progress, _noted(progress):
        yield progress


@contextmanager
def working(words: str) -> Iterator[None]:
    """Say in the block what is being done that cannot be counted."""
    with get_console().status(words), _noted(words):
        yield


@contextmanager
def _noted(what: Progress | str) -> Iterator[None]:
    _current.append(what)
    try:
        yield
    finally:
        _current.remove(what)


@contextmanager
def told_in_lines(name: str) -> Iterator[None]:
    """Where standard output is no terminal: a line on stderr every 30 s of the block, with how far it is."""
    if sys.stdout.isatty():
        yield
        return
    ended = threading.Event()
    threading.Thread(target=_tell, args=(name, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _tell(name: str, ended: threading.Event) -> None:
    began = time.monotonic()
    while not ended.wait(LINE_SECONDS):
        seconds = round(time.monotonic() - began)
        print(f"{name}: {_where() or 'at work'}, {seconds // 60} min {seconds % 60} s", file=sys.stderr, flush=True)


def _where() -> str:
    """The innermost work in words, as ``Encoding 34 of 120``."""
    for what in reversed(_current):
        if isinstance(what, str):
            return what
        for task in reversed(what.tasks):
            if not what.disable:
                total = "" if task.total is None else f" of {task.total:g}"
                return f"{task.description or 'Generating'} {task.completed:g}{total}"
    return ""
