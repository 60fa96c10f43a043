"""The one exception that is written for people: commands print it as a line, without a traceback."""


class UserError(ValueError):
    """Something the user gave is wrong: the message says what, where and what to do about it."""
