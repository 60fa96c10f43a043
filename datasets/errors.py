"""The one exception that is written for people: commands print it as a line, without a traceback."""


class UserError(ValueError):
    """Something the user gave is wrong: the message says what, where and what to do about it."""


def shown(text: object, length: int = 60) -> str:
    """``text`` from a user's file as a message may hold it: on one line, and not without end."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
