"""The exit statuses of a pass."""

from enum import IntEnum


class Status(IntEnum):
    """Documented in ``driveforge nightly --help`` and docs/nightly.md."""

    PROMOTED = 0
    FAILED = 1
    USER_ERROR = 2
    REFUSED = 3
    NO_NEW_DATA = 4
    ALREADY_RUNNING = 5
    TIME_IS_UP = 6
    NOTHING_ACCEPTED = 7
