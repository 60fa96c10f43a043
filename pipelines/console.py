"""Console output without markup: names of files, clips and licenses may contain brackets and colons."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import get_console
from rich.console import Console
from rich.text import Text

# URLs of run folders in object stores, by the path of their working copy.
_urls: dict[str, str] = {}


@contextmanager
def shown_as(folder: Path, url: str) -> Iterator[None]:
    """Print ``url`` for the path ``folder`` in the block."""
    _urls[str(folder)] = url
    try:
        yield
    finally:
        del _urls[str(folder)]


def _with_urls(text: str) -> str:
    for folder, url in _urls.items():
        text = text.replace(folder, url)
    return text


def print_message(line: str) -> None:
    """Print a status or error message to stderr, unbuffered."""
    print(f"driveforge: {_with_urls(line)}", file=sys.stderr, flush=True)


def print_result(text: object, *, prefix: str = "", style: str = "", console: Console | None = None) -> None:
    """Print a result to ``console``, by default stdout: ``text`` after a ``prefix`` in a rich ``style``.

    Long lines are not broken, so that paths can be copied. Undecodable bytes of file names become question marks.
    """
    (console or get_console()).print(plain_text(f"{prefix}{text}", len(prefix), style), soft_wrap=True)


def plain_text(text: object, num_styled: int = 0, style: str = "") -> Text:
    """``text`` as a table cell or title without markup, with its first ``num_styled`` characters in ``style``."""
    shown = Text(_with_urls(str(text)).encode(errors="replace").decode())
    shown.stylize(style, 0, num_styled)
    return shown


def format_size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
