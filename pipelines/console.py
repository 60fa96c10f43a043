"""What commands print, as it is: names of files, clips and licenses hold brackets and colons, which are no markup."""

import sys

from rich import get_console
from rich.text import Text


def print_message(line: str) -> None:
    """One line at once on stderr, beside the results: what is waited for, what goes on without, what was wrong."""
    print(f"driveforge: {line}", file=sys.stderr, flush=True)


def print_result(text: object, *, prefix: str = "", style: str = "") -> None:
    """A result on stdout: ``text`` behind a ``prefix`` in a rich ``style``.

    Lines are left to the terminal to wrap, so that paths stay whole. What is no text in the name of a file becomes a
    question mark.
    """
    get_console().print(plain_text(f"{prefix}{text}", len(prefix), style), soft_wrap=True)


def plain_text(text: object, num_styled: int = 0, style: str = "") -> Text:
    """``text`` for a cell or a title of a table, its first ``num_styled`` characters in ``style``."""
    shown = Text(str(text).encode(errors="replace").decode())
    shown.stylize(style, 0, num_styled)
    return shown
