"""The one exception that is written for people: commands print it as a line, without a traceback."""

MAX_LENGTH = 300
_TAIL_LENGTH = 120


class UserError(ValueError):
    """Something the user gave is wrong: the message says what, where and what to do about it.

    Messages hold names and values from files that may be of any length, so the middle of one that is longer than
    ``MAX_LENGTH`` characters is left out: where it went wrong stands first, what to do last.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_truncate(str(message)))


def shorten(text: object, length: int = 60) -> str:
    """``text`` from a user's file as a message may hold it: on one line, and not without end."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _truncate(message: str) -> str:
    if len(message) <= MAX_LENGTH:
        return message
    return f"{message[: MAX_LENGTH - _TAIL_LENGTH - 1]}…{message[-_TAIL_LENGTH:]}"
