"""The exception for errors of the user, which commands print as one line without a traceback."""

MAX_LENGTH = 300
_TAIL_LENGTH = 120


class UserError(ValueError):
    """An error in what the user provided: the message says what is wrong, where, and what to do.

    Messages quote names and values from files, which may be long. The middle of a message longer than ``MAX_LENGTH``
    characters is cut: its start says where, its end what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_truncate(str(message)))


def shorten(text: object, length: int = 60) -> str:
    """``text`` from a user's file for a message: on one line, at most ``length`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _truncate(message: str) -> str:
    if len(message) <= MAX_LENGTH:
        return message
    return f"{message[: MAX_LENGTH - _TAIL_LENGTH - 1]}…{message[-_TAIL_LENGTH:]}"
