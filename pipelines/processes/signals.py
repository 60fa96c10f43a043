"""Signal handling: SIGTERM and SIGINT raise ``KeyboardInterrupt`` in the main thread, so that every block is left.

Lightning and Ray install their own handlers, and Lightning then exits with status 1. So the signal is recorded, and the
command exits with the conventional status, 128 plus the signal number.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Terminals and supervisors signal the whole process group, so the signal may arrive twice during cleanup.
_GRACE_SECONDS = 5.0


class StopSignal:
    """The first signal that was received, if any."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0

    def handle(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signum is None or now - self._since > _GRACE_SECONDS:
            self.signum, self._since = signum, now
            raise KeyboardInterrupt

    @property
    def status(self) -> int:
        return 128 + (self.signum or signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[StopSignal]:
    """SIGTERM and SIGINT interrupt the block."""
    stop = StopSignal()
    with preserve_handlers():
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, stop.handle)
        yield stop


@contextmanager
def preserve_handlers() -> Iterator[None]:
    """Restore the handlers of SIGTERM and SIGINT after the block."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            if handler is not None:  # None if it was not set from Python
                signal.signal(signum, handler)
