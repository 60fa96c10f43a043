"""What commands say on the terminal, as it is: names of files, clips and licences hold brackets and colons, which are
no markup."""

from rich import get_console
from rich.text import Text


def show(text: object, *, head: str = "", style: str = "") -> None:
    """``text`` behind a ``head`` in a rich ``style``; lines are left to the terminal to wrap, so that paths stay whole.

    What is no text in the name of a file becomes a question mark.
    """
    get_console().print(plain(f"{head}{text}", len(head), style), soft_wrap=True)


def plain(text: object, styled: int = 0, style: str = "") -> Text:
    """``text`` for a cell or a title of a table, its first ``styled`` characters in ``style``."""
    shown = Text(str(text).encode(errors="replace").decode())
    shown.stylize(style, 0, styled)
    return shown
